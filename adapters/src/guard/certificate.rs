//! The names in a client's certificate, which TLS has verified.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_certificate::X509Certificate;

/// Most names that are looked at.
const NAMES_MAX: usize = 32;

/// Names in the order in which they count: URIs such as SPIFFE's, the common name, DNS names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CertificateNames(Vec<String>);

impl CertificateNames {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut names = Vec::new();
        let parsed = EndEntityCert::try_from(certificate).ok();
        names.extend(parsed.iter().flat_map(|parsed| parsed.valid_uri_names()).map(str::to_owned));
        let common = X509Certificate::from_der(certificate.as_ref()).ok();
        names.extend(common.and_then(|certificate| certificate.subject_common_name()));
        names.extend(parsed.iter().flat_map(|parsed| parsed.valid_dns_names()).map(str::to_owned));
        // Whom nobody knows is called `anonymous`: no certificate stands for him.
        names.retain(|name| !name.is_empty() && name != "anonymous");
        names.truncate(NAMES_MAX);
        Self(names)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}
