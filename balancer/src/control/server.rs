//! The daemon's end of the control socket.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::{fs::PermissionsExt as _, net::UnixStream as BlockingStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::watch,
    task::{JoinError, JoinSet},
};

use super::protocol::{Refusal, RefusalKind, Request, Response};
use crate::{
    controller::{self, Handle},
    dataplane::Trace,
    events::Events,
};

/// Owner and group may use the socket.
const MODE: u32 = 0o660;

/// Longest request, in bytes.
const MAX_REQUEST: u64 = 1 << 26;

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

    /// Serves clients until the sender of `stop` is gone, and then until each request that has been read is answered.
    pub async fn serve(self, controller: Handle, events: Arc<Events>, stop: watch::Receiver<()>) {
        let mut conversations = JoinSet::new();
        loop {
            tokio::select! {
                () = stopped(stop.clone()) => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        conversations.spawn(converse(stream, controller.clone(), Arc::clone(&events), stop.clone()));
                    }
                    Err(error) => {
                        tracing::warn!("cannot accept a control connection: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(ended) = conversations.join_next() => note(ended),
            }
        }
        while let Some(ended) = conversations.join_next().await {
            note(ended);
        }
    }
}

/// Waits until the sender is gone.
async fn stopped(mut stop: watch::Receiver<()>) {
    while stop.changed().await.is_ok() {}
}

fn note(ended: Result<anyhow::Result<()>, JoinError>) {
    if let Err(error) = ended.map_err(anyhow::Error::from).flatten() {
        tracing::debug!("control connection: {error:#}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _already_gone: io::Result<()> = fs::remove_file(&self.path);
    }
}

/// Answers requests until the client closes the connection, or the daemon is to stop.
async fn converse(
    stream: UnixStream,
    controller: Handle,
    events: Arc<Events>,
    stop: watch::Receiver<()>,
) -> anyhow::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = String::new();
        let mut request = (&mut reader).take(MAX_REQUEST);
        let length = tokio::select! {
            () = stopped(stop.clone()) => return Ok(()),
            read = request.read_line(&mut line) => read?,
        };
        if length == 0 {
            return Ok(());
        }
        let response = match serde_json::from_str::<Request>(&line) {
            Ok(Request::FollowEvents) => {
                return tokio::select! {
                    () = stopped(stop) => Ok(()),
                    // Whoever follows says nothing more: what can be read is the end.
                    _end = reader.read_u8() => Ok(()),
                    told = tell(&events, &mut writer) => told,
                };
            }
            Ok(Request::Trace(filter)) => match controller.start_trace(filter).await? {
                Ok(trace) => {
                    let told = tokio::select! {
                        () = stopped(stop) => Ok(()),
                        _end = reader.read_u8() => Ok(()),
                        told = tell_decisions(trace, &mut writer) => told,
                    };
                    controller.end_trace().await?;
                    return told;
                }
                Err(refusal) => Response::Refused(refusal),
            },
            Ok(request) => controller.ask(request).await?,
            Err(error) => Response::Refused(Refusal {
                kind: RefusalKind::Usage,
                message: format!("the daemon does not understand the request ({error}): is it of another version?"),
            }),
        };
        send(&mut writer, &response).await?;
    }
}

/// Sends the events that are kept, and then each as it comes.
async fn tell(events: &Events, writer: &mut OwnedWriteHalf) -> anyhow::Result<()> {
    let mut news = events.watch();
    let mut last = 0;
    loop {
        for event in events.after(last) {
            last = event.number;
            send(writer, &Response::Event(event)).await?;
        }
        news.changed().await?;
    }
}

/// Sends decisions about packets as they are made.
async fn tell_decisions(trace: Trace, writer: &mut OwnedWriteHalf) -> anyhow::Result<()> {
    let mut decisions = trace.follow()?;
    loop {
        let decision = controller::view_decision(decisions.recv().await?);
        send(writer, &Response::Decision(decision)).await?;
    }
}

async fn send(writer: &mut OwnedWriteHalf, response: &Response) -> anyhow::Result<()> {
    let mut text = serde_json::to_string(response)?;
    text.push('\n');
    Ok(writer.write_all(text.as_bytes()).await?)
}
