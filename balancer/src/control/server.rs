//! The daemon's end of the control socket.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::{fs::PermissionsExt as _, net::UnixStream as BlockingStream},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
};

use super::protocol::{Refusal, RefusalKind, Request, Response};
use crate::controller::Handle;

/// Owner and group may use the socket.
const MODE: u32 = 0o660;

/// Longest request, in bytes.
const MAX_REQUEST: u64 = 1 << 20;

/// A control socket that listens; its file is removed when it goes.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Listens at `path`. The file of a daemon that is gone is replaced.
    ///
    /// # Errors
    ///
    /// If a daemon answers there already, or the socket cannot be made.
    pub fn bind(path: &Path) -> anyhow::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        match BlockingStream::connect(path) {
            Ok(_) => bail!(
                "another daemon listens at {}: stop it, or give this one its own control.socket",
                path.display()
            ),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).with_context(|| format!("cannot replace {}", path.display()))?;
            }
            Err(_) => {}
        }
        let listener =
            UnixListener::bind(path).with_context(|| format!("cannot listen at control.socket {}", path.display()))?;
        fs::set_permissions(path, Permissions::from_mode(MODE))
            .with_context(|| format!("cannot set the mode of {}", path.display()))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves clients for good.
    pub async fn serve(self, controller: Handle) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let controller = controller.clone();
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, &controller).await {
                            tracing::debug!("control connection: {error:#}");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!("cannot accept a control connection: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_gone: io::Result<()> = fs::remove_file(&self.path);
    }
}

/// Answers requests until the client closes the connection.
async fn converse(stream: UnixStream, controller: &Handle) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = String::new();
        if (&mut reader).take(MAX_REQUEST).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let response = match serde_json::from_str::<Request>(&line) {
            Ok(request) => controller.ask(request).await?,
            Err(error) => Response::Refused(Refusal {
                kind: RefusalKind::Usage,
                message: format!("the daemon does not understand the request ({error}): is it of another version?"),
            }),
        };
        let mut text = serde_json::to_string(&response)?;
        text.push('\n');
        writer.write_all(text.as_bytes()).await?;
    }
}
