//! Whom probes trust: Mozilla's root certificates, and those the user adds.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::base::ConfigError;

/// The variable by which OpenSSL, Python and httpx are told of a company's own certificates. A probe that
/// ignored it would convict a node that calls reach without trouble.
const TRUST_VARIABLE: &str = "SSL_CERT_FILE";

/// The connector for everybody who did not name a file of their own: made once, at first use.
pub(super) fn connector() -> Result<TlsConnector, ConfigError> {
    static SHARED: OnceLock<Result<TlsConnector, ConfigError>> = OnceLock::new();
    SHARED
        .get_or_init(|| match env::var_os(TRUST_VARIABLE).filter(|file| !file.is_empty()) {
            Some(file) => build(Some(&file)),
            None => build(None),
        })
        .clone()
}

/// A connector that trusts the certificates in the PEM file `path` as well.
pub fn trust_file(path: &Path) -> Result<TlsConnector, ConfigError> {
    build(Some(path.as_os_str()))
}

fn build(extra: Option<&OsStr>) -> Result<TlsConnector, ConfigError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = extra {
        let unreadable = || {
            let rule = "be a readable PEM file of certificates";
            ConfigError::new(TRUST_VARIABLE, rule, format!("{:?}", file.to_string_lossy()))
        };
        let certificates = CertificateDer::pem_file_iter(file).map_err(|_| unreadable())?;
        let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|_| unreadable())?;
        if certificates.is_empty() {
            return Err(unreadable());
        }
        // Those that rustls cannot use are left out, as OpenSSL does with a system's bundle.
        roots.add_parsable_certificates(certificates);
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
