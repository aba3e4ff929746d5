//! A QUIC server that says who it is, in every answer and in its connection IDs.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use quinn::{
    ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime,
    rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::net::UdpSocket;

use crate::{Args, canonical};

/// Answers each stream with the server's name, a space and the client's address and port.
pub(crate) async fn serve(args: Args) -> anyhow::Result<()> {
    let identity = args.identity.as_deref().context("a QUIC server needs --identity")?;
    let mut config = EndpointConfig::default();
    let server = server_id(args.listen.ip());
    config.cid_generator(move || Box::new(Named { server }));
    let socket = UdpSocket::bind(args.listen).await?.into_std()?;
    let endpoint = Endpoint::new(config, Some(server_config(identity)?), socket, Arc::new(TokioRuntime))?;
    println!("listening");
    let name: Arc<str> = args.name.into();
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(converse(incoming, Arc::clone(&name)));
    }
    Ok(())
}

async fn converse(incoming: Incoming, name: Arc<str>) -> anyhow::Result<()> {
    let connection = incoming.await?;
    loop {
        let (mut answer, _question) = connection.accept_bi().await?;
        let client = canonical(connection.remote_address());
        answer.write_all(format!("{name} {client}").as_bytes()).await?;
        answer.finish()?;
    }
}

fn server_config(identity: &Path) -> anyhow::Result<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(identity.join("certificate.pem"))?;
    let key = PrivateKeyDer::from_pem_file(identity.join("key.pem"))?;
    Ok(ServerConfig::with_single_cert(vec![certificate], key)?)
}

/// What a server calls itself: the last four bytes of its address.
fn server_id(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            [a, b, c, d]
        }
    }
}

/// Connection IDs as QUIC-LB has them in plain text: a byte that names the configuration, the server, and something random.
struct Named {
    server: [u8; 4],
}

impl ConnectionIdGenerator for Named {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = vec![0];
        id.extend(self.server);
        id.extend(fastrand::u64(..).to_be_bytes());
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        1 + size_of::<[u8; 4]>() + size_of::<u64>()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
