//! The client's side of TLS under a probe.
//!
//! Each probe makes a full handshake: a resumed session would not show that the certificate has expired since.

use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::SystemTime,
};

use hyper::http::uri::Authority;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::{
            Resumption,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{self, CryptoProvider, ring},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    },
};

use super::Failure;
use crate::config::{Tls, Trust};

/// The authorities that the system trusts, read once: they are many, and the same for all probes.
static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(store)
});

/// Makes TLS connections as a configuration asks for.
pub(super) struct TlsClient {
    trust: Trust,
    /// `None` takes the address.
    name: Option<ServerName<'static>>,
    protocol: &'static [u8],
    settings: Mutex<Option<Settings>>,
}

/// What follows from the configuration and, if one is named, from the file of authorities at the time when it was read.
struct Settings {
    modified: Option<SystemTime>,
    client: Arc<ClientConfig>,
}

impl TlsClient {
    /// A client that offers `protocol` (RFC 7301), of backends that are called `host` unless the configuration names them.
    pub(super) fn new(config: &Tls, host: Option<&str>, protocol: &'static [u8]) -> Self {
        let host = || host.and_then(|host| host.parse::<Authority>().ok());
        let host_name = || host().map(|host| host.host().trim_matches(['[', ']']).to_owned());
        let name = config.sni.clone().or_else(host_name);
        Self {
            trust: config.trust.clone(),
            name: name.and_then(|name| ServerName::try_from(name).ok()),
            protocol,
            settings: Mutex::default(),
        }
    }

    /// Begins TLS on a connection to `target`.
    pub(super) async fn begin<S>(&self, stream: S, target: SocketAddr) -> Result<TlsStream<S>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let client = self.client().map_err(Failure::Local)?;
        let name = self.name.clone().unwrap_or_else(|| target.ip().into());
        Ok(TlsConnector::from(client).connect(name, stream).await?)
    }

    /// The settings of the moment, or why this host has none.
    fn client(&self) -> Result<Arc<ClientConfig>, String> {
        // Quick enough for a probing task: the file is local and small, and read again only after it has changed.
        let modified = match &self.trust {
            Trust::Authorities(path) => Some(modified(path).map_err(|error| unreadable(path, &error))?),
            Trust::System | Trust::Anyone => None,
        };
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        match &*settings {
            Some(settings) if settings.modified == modified => Ok(Arc::clone(&settings.client)),
            _ => {
                let client = Arc::new(self.read()?);
                *settings = Some(Settings {
                    modified,
                    client: Arc::clone(&client),
                });
                Ok(client)
            }
        }
    }

    fn read(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &self.trust {
            Trust::Anyone => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone(provider))),
            Trust::System if SYSTEM.is_empty() => {
                return Err("this system trusts no authority; install ca-certificates or name a file by ca".to_owned());
            }
            Trust::System => builder.with_root_certificates(Arc::clone(&SYSTEM)),
            Trust::Authorities(path) => builder.with_root_certificates(authorities(path)?),
        };
        let mut client = builder.with_no_client_auth();
        client.alpn_protocols = vec![self.protocol.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(client)
    }
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

fn unreadable(path: &Path, error: &dyn std::error::Error) -> String {
    format!(
        "{} cannot be read ({error}); see to it or name another file by ca",
        path.display()
    )
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, &error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unreadable(path, &error))?;
        store.add(certificate).map_err(|error| unreadable(path, &error))?;
    }
    if store.is_empty() {
        return Err(format!("{} has no certificate; name a PEM file by ca", path.display()));
    }
    Ok(store)
}

/// Believes every certificate; what it signs must still be signed by its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
