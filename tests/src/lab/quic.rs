//! QUIC servers on backends, and their clients.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, TokioRuntime,
    rustls::{RootCertStore, pki_types::CertificateDer},
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{Namespace, Network, Process, eventually, program};

/// What servers are called in their certificate.
const SERVER_NAME: &str = "quic.example";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server on each backend, whose connection IDs tell the last bytes of its address.
pub struct QuicFarm {
    certificate: CertificateDer<'static>,
    _servers: Vec<Process>,
    _directory: TempDir,
}

impl QuicFarm {
    /// Starts the servers at `port` of the backends' addresses of the VIP's IP version.
    pub fn start(network: &Network, vip: IpAddr, port: u16) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([SERVER_NAME.to_owned()]).expect("the name is a valid one");
        let write = |name, text| std::fs::write(directory.path().join(name), text).expect("the directory is there");
        write("certificate.pem", cert.pem());
        write("key.pem", signing_key.serialize_pem());
        let start = |number| {
            let name = Network::backend_name(number);
            let listen = SocketAddr::new(Network::backend_of(vip, number), port);
            let mut command = network.backends[usize::from(number)].command(program("lab-server"));
            command.args(["quic", "--name", &name, "--listen", &listen.to_string()]);
            command.arg("--identity").arg(directory.path());
            let process = Process::start(&mut command, &directory.path().join(name));
            eventually("the QUIC server listens", || {
                process.output().contains("listening").then_some(())
            });
            process
        };
        Self {
            certificate: cert.der().clone(),
            _servers: (0..network.count()).map(start).collect(),
            _directory: directory,
        }
    }

    /// Connects a client that sends from `client` to `server`.
    pub fn connect(&self, host: &Namespace, client: SocketAddr, server: SocketAddr) -> anyhow::Result<QuicClient> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let config = ClientConfig::with_root_certificates(Arc::new(roots))?;
        let socket = bind(host, client)?;
        let (endpoint, connection) = runtime.block_on(async {
            let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
            let connecting = endpoint.connect_with(config, server, SERVER_NAME)?;
            let connection = tokio::time::timeout(PATIENCE, connecting).await??;
            anyhow::Ok((endpoint, connection))
        })?;
        Ok(QuicClient {
            endpoint,
            connection,
            runtime,
        })
    }
}

/// A client with one connection.
pub struct QuicClient {
    endpoint: Endpoint,
    connection: Connection,
    runtime: Runtime,
}

impl QuicClient {
    /// Asks who answers: the server's name, and the client's address as it sees it.
    pub fn ask(&self) -> anyhow::Result<(String, SocketAddr)> {
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, async {
                let (mut question, mut answer) = self.connection.open_bi().await?;
                question.write_all(b"who?").await?;
                question.finish()?;
                anyhow::Ok(answer.read_to_end(256).await?)
            })
            .await?
        })?;
        let answer = String::from_utf8(answer)?;
        let (name, client) = answer.split_once(' ').context("the answer has two words")?;
        Ok((name.to_owned(), client.parse()?))
    }

    /// Goes on from another address, without telling the server.
    pub fn move_to(&self, host: &Namespace, client: SocketAddr) -> anyhow::Result<()> {
        let socket = bind(host, client)?;
        let _entered = self.runtime.enter();
        Ok(self.endpoint.rebind(socket)?)
    }
}

fn bind(host: &Namespace, client: SocketAddr) -> anyhow::Result<UdpSocket> {
    Ok(host.enter(|| UdpSocket::bind(client))?)
}
