//! Certificates for export over https (feature `tls`).

use crate::config::Destination;

type AgentConfig = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

/// Adds what the destination says about certificates.
///
/// # Errors
///
/// Which file cannot be used, and why.
#[cfg(feature = "tls")]
pub(crate) fn configure(config: AgentConfig, to: &Destination) -> Result<AgentConfig, String> {
    use std::path::Path;

    use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

    fn read(path: &Path) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| format!("certificate file {path:?} cannot be read: {error}"))
    }

    fn chain(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
        let items: Result<Vec<_>, _> = parse_pem(&read(path)?).collect();
        let items = items.map_err(|error| format!("certificate file {path:?} is not PEM: {error}"))?;
        let certificates: Vec<_> = items
            .into_iter()
            .filter_map(|item| match item {
                PemItem::Certificate(certificate) => Some(certificate),
                _ => None,
            })
            .collect();
        match certificates.is_empty() {
            true => Err(format!("certificate file {path:?} holds no certificate")),
            false => Ok(certificates),
        }
    }

    let mut tls = TlsConfig::builder();
    if let Some(path) = &to.certificate {
        tls = tls.root_certs(RootCerts::new_with_certs(&chain(path)?));
    }
    if let Some((certificate, key)) = &to.client_certificate {
        let private = PrivateKey::from_pem(&read(key)?);
        let private = private.map_err(|error| format!("key file {key:?} holds no key: {error}"))?;
        tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain(certificate)?, private)));
    }
    Ok(config.tls_config(tls.build()))
}

/// Without the feature there is nothing to set.
///
/// # Errors
///
/// Certificates are named all the same.
#[cfg(not(feature = "tls"))]
pub(crate) fn configure(config: AgentConfig, to: &Destination) -> Result<AgentConfig, String> {
    match to.certificate.is_some() || to.client_certificate.is_some() {
        true => Err("certificates are given, but tracewell-sdk was built without its feature `tls`".to_owned()),
        false => Ok(config),
    }
}
