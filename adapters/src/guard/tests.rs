use rcgen::{CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::*;

const SECRET: &str = "0123456789abcdef";

fn token(name: &str, secret: Secret) -> TokenConfig {
    TokenConfig { name: name.to_owned(), secret, teams: Vec::new(), reports_as: Vec::new() }
}

fn guard(tokens: Vec<TokenConfig>) -> Arc<Guard> {
    Guard::new(GuardConfig { tokens, ..GuardConfig::default() }).unwrap()
}

fn name(guard: &Guard, authorization: &str) -> Result<String, Refused> {
    guard.identify(None, Some(authorization.as_bytes())).map(|identity| identity.name().to_owned())
}

/// A certificate authority, and one certificate of it.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, common: &str, alternatives: Vec<SanType>) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        params.subject_alt_names = alternatives;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// Writes a certificate of this name for a port, and the authority's own.
    fn write(&self, dir: &TempDir, common: &str) -> TlsConfig {
        let (certificate, key) = self.issue(common, vec![SanType::DnsName("localhost".try_into().unwrap())]);
        let [cert, private, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|name| dir.path().join(name));
        std::fs::write(&cert, certificate.pem()).unwrap();
        std::fs::write(&private, key.serialize_pem()).unwrap();
        std::fs::write(&ca, self.0.pem()).unwrap();
        TlsConfig { cert, key: private, client_ca: Some(ca) }
    }
}

#[test]
fn nobody_is_asked_where_nothing_is_configured() {
    let guard = Guard::open().unwrap();
    assert!(guard.is_open());
    assert!(guard.identify(None, None).unwrap().is_anonymous());
    assert!(guard.identify(None, Some(b"Bearer whatever")).unwrap().is_anonymous());
}

#[test]
fn a_token_is_known_by_itself_by_its_digest_and_from_a_file() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("c.token");
    std::fs::write(&file, "cccccccccccccccc\n").unwrap();
    let digest = Secret::Sha256(Sha256::digest(b"bbbbbbbbbbbbbbbb").into());
    let guard = guard(vec![
        token("a", Secret::Token(SECRET.to_owned())),
        token("b", digest),
        token("c", Secret::File(file.clone())),
    ]);
    assert_eq!(name(&guard, "Bearer 0123456789abcdef").unwrap(), "a");
    assert_eq!(name(&guard, "bearer  bbbbbbbbbbbbbbbb").unwrap(), "b");
    assert_eq!(name(&guard, "Bearer cccccccccccccccc").unwrap(), "c");
    let basic = |pair: &str| {
        use base64::Engine as _;
        format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair))
    };
    assert_eq!(name(&guard, &basic("a:0123456789abcdef")).unwrap(), "a");
    for wrong in ["Bearer 0123456789abcdeg", "Bearer ", "0123456789abcdef", "Digest x", &basic("b:0123456789abcdef")] {
        assert_eq!(name(&guard, wrong), Err(Refused::UnknownToken), "{wrong}");
    }
    assert_eq!(guard.identify(None, None), Err(Refused::Nobody));
    assert!(!guard.current().tokens.are_salted(), "of `b` only the digest is known");

    std::fs::write(&file, "dddddddddddddddddd").unwrap();
    guard.refresh();
    assert_eq!(name(&guard, "Bearer dddddddddddddddddd").unwrap(), "c");
    assert_eq!(name(&guard, "Bearer cccccccccccccccc"), Err(Refused::UnknownToken));
    std::fs::write(&file, "short").unwrap();
    guard.refresh();
    assert_eq!(name(&guard, "Bearer dddddddddddddddddd").unwrap(), "c", "the last good state stays");
}

#[test]
fn a_token_counts_before_a_certificate_and_a_wrong_one_is_not_passed_over() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new();
    let config = GuardConfig {
        tokens: vec![token("a", Secret::Token(SECRET.to_owned()))],
        certificates: vec![CertificateConfig {
            subject: "spiffe://mesh/ns/shop/sa/catalog".to_owned(),
            name: "catalog".to_owned(),
            teams: Vec::new(),
            reports_as: vec!["catalog-*".to_owned()],
        }],
        tls: Some(authority.write(&dir, "engine")),
    };
    let guard = Guard::new(config).unwrap();
    let names = |common: &str, alternatives| {
        let (certificate, _) = authority.issue(common, alternatives);
        CertificateNames::of(&CertificateDer::from(certificate.der().to_vec()))
    };
    let uri = SanType::URI("spiffe://mesh/ns/shop/sa/catalog".try_into().unwrap());
    let catalog = names("ignored", vec![uri]);
    let identity = guard.identify(Some(&catalog), None).unwrap();
    assert_eq!(identity.name(), "catalog");
    assert!(identity.may_report_as("catalog-7").is_ok() && identity.may_report_as("payments-1").is_err());

    let payments = names("payments-1", vec![SanType::DnsName("payments.shop".try_into().unwrap())]);
    let identity = guard.identify(Some(&payments), None).unwrap();
    assert_eq!(identity.name(), "payments-1");
    assert!(identity.may_report_as("catalog-7").is_err());

    let nobody = names("anonymous", Vec::new());
    assert_eq!(guard.identify(Some(&nobody), None), Err(Refused::Nobody));

    let with_token = guard.identify(Some(&catalog), Some(b"Bearer 0123456789abcdef")).unwrap();
    assert_eq!(with_token.name(), "a");
    assert_eq!(guard.identify(Some(&catalog), Some(b"Bearer wrong")), Err(Refused::UnknownToken));
}

#[test]
fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
    let dir = TempDir::new().unwrap();
    let tls = Authority::new().write(&dir, "engine");
    let cert = tls.cert.clone();
    let guard = Guard::new(GuardConfig { tls: Some(tls), ..GuardConfig::default() }).unwrap();
    let config = || guard.current().tls.as_ref().unwrap().config(Protocol::Grpc);
    let first = config();
    guard.refresh();
    assert!(Arc::ptr_eq(&first, &config()), "nothing has changed");
    Authority::new().write(&dir, "engine with a longer name");
    guard.refresh();
    let second = config();
    assert!(!Arc::ptr_eq(&first, &second));
    std::fs::write(&cert, "no certificate").unwrap();
    guard.refresh();
    assert!(Arc::ptr_eq(&second, &config()));
}

#[test]
fn what_cannot_be_used_is_named() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("missing.token");
    let error = Guard::new(GuardConfig { tokens: vec![token("a", Secret::File(missing))], ..GuardConfig::default() });
    assert!(error.err().unwrap().to_string().contains("missing.token` holds no token"));
    let twice = ["a", "b"].map(|name| token(name, Secret::Token(SECRET.to_owned()))).to_vec();
    let error = Guard::new(GuardConfig { tokens: twice, ..GuardConfig::default() }).err().unwrap().to_string();
    assert!(error.contains("`a` and `b` have the same token"), "{error}");
    let mut tls = Authority::new().write(&dir, "engine");
    tls.client_ca = Some(tls.key.clone());
    let error = Guard::new(GuardConfig { tls: Some(tls), ..GuardConfig::default() }).err().unwrap().to_string();
    assert!(error.contains("key.pem` cannot be used for TLS"), "{error}");
}
