//! How a client introduces itself: with a certificate, with a name and a token by SCRAM or as a password, or by its word
//! alone where nobody is asked.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, LazyLock, OnceLock};

use async_trait::async_trait;
use datafusion_postgres::pgwire::api::auth::sasl::SASLAuthStartupHandler;
use datafusion_postgres::pgwire::api::auth::sasl::scram::ScramAuth;
use datafusion_postgres::pgwire::api::auth::{
    AuthSource, LoginInfo, Password, ServerParameterProvider, StartupHandler, finish_authentication,
    protocol_negotiation, save_startup_parameters_to_metadata,
};
use datafusion_postgres::pgwire::api::{
    ClientInfo, METADATA_USER, PgWireConnectionState, PidSecretKeyGenerator, RandomPidSecretKeyGenerator,
};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::startup::Authentication;
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use futures::{Sink, SinkExt as _};
use rustls::pki_types::CertificateDer;
use tollgate_engine::Identity;

use super::error::fatal;
use super::running::Running;
use super::settings;
use crate::guard::{CertificateNames, Current, Guard};

static KEYS: LazyLock<Arc<RandomPidSecretKeyGenerator>> = LazyLock::new(Arc::default);

/// The introduction of one client.
pub(super) struct Startup {
    guard: Arc<Guard>,
    current: Arc<Current>,
    scram: Option<SASLAuthStartupHandler<Parameters>>,
    running: Arc<Running>,
    certificate: OnceLock<CertificateDer<'static>>,
}

impl Startup {
    pub(super) fn new(guard: Arc<Guard>, current: Arc<Current>, running: Arc<Running>) -> Self {
        // A token of which only the digest is known cannot be proved by SCRAM: it has to be sent.
        let is_scram = !current.tokens.is_empty() && current.tokens.are_salted();
        let scram = is_scram.then(|| {
            let source: Arc<dyn AuthSource> = Arc::new(Salted(Arc::clone(&current)));
            SASLAuthStartupHandler::new(Arc::new(Parameters))
                .with_pid_secret_key_generator(Arc::clone(&*KEYS) as _)
                .with_scram(ScramAuth::new(source))
        });
        Self { guard, current, scram, running, certificate: OnceLock::new() }
    }

    /// Notes the certificate that the client proved to hold when TLS began. pgwire finds none on a connection with bounds.
    pub(super) fn note_certificate(&self, certificate: CertificateDer<'static>) {
        self.certificate.get_or_init(|| certificate);
    }

    /// Whom the client's certificate stands for, if that is the user that it names.
    fn by_certificate(&self, client: &impl ClientInfo) -> Option<Identity> {
        let identity = self.guard.by_certificate(&CertificateNames::of(self.certificate.get()?))?;
        (client.metadata().get(METADATA_USER)? == identity.name()).then_some(identity)
    }

    async fn begin<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<Option<Identity>>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let PgWireFrontendMessage::Startup(startup) = &message else { return Ok(None) };
        save_startup_parameters_to_metadata(client, startup);
        let identity = match self.guard.is_open() {
            true => Some(Identity::anonymous()),
            false => self.by_certificate(client),
        };
        if let Some(identity) = identity {
            protocol_negotiation(client, startup).await?;
            finish(client).await?;
            return Ok(Some(identity));
        }
        if self.current.tokens.is_empty() {
            return Err(fatal("28000", "connect with a client certificate that has the user's name"));
        }
        if let Some(scram) = &self.scram {
            scram.on_startup(client, message).await?;
            return Ok(None);
        }
        protocol_negotiation(client, startup).await?;
        client.set_state(PgWireConnectionState::AuthenticationInProgress);
        client.send(PgWireBackendMessage::Authentication(Authentication::CleartextPassword)).await?;
        Ok(None)
    }

    async fn go_on<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<Option<Identity>>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let user = client.metadata().get(METADATA_USER).cloned().unwrap_or_default();
        if let Some(scram) = &self.scram {
            scram.on_startup(client, message).await?;
            let is_done = matches!(client.state(), PgWireConnectionState::ReadyForQuery);
            return Ok(self.current.tokens.by_name(&user).filter(|_| is_done));
        }
        let PgWireFrontendMessage::PasswordMessageFamily(password) = message else { return Ok(None) };
        let password = password.into_password()?.password;
        let Some(identity) = self.current.tokens.by_name_and_secret(&user, password.as_bytes()) else {
            return Err(PgWireError::InvalidPassword(user));
        };
        finish(client).await?;
        Ok(Some(identity))
    }
}

#[async_trait]
impl StartupHandler for Startup {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if self.current.tls.is_some() && !client.is_secure() {
            return Err(fatal("28000", "connect with TLS: `sslmode=require`"));
        }
        let identity = match &message {
            PgWireFrontendMessage::Startup(_) => self.begin(client, message).await?,
            _ => self.go_on(client, message).await?,
        };
        if let Some(identity) = identity {
            settings::at_startup(client.metadata_mut());
            self.running.register(client, identity);
        }
        Ok(())
    }
}

async fn finish<C>(client: &mut C) -> PgWireResult<()>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let (pid, secret) = KEYS.generate(client);
    client.set_pid_and_secret_key(pid, secret);
    finish_authentication(client, &Parameters).await
}

/// What the server says of itself once a client is in.
struct Parameters;

impl ServerParameterProvider for Parameters {
    fn server_parameters<C: ClientInfo>(&self, client: &C) -> Option<HashMap<String, String>> {
        let mut parameters: HashMap<String, String> = settings::reported()
            .map(|(name, default)| {
                let given = client.metadata().get(name).filter(|_| settings::is_free(name));
                (name.to_owned(), given.cloned().unwrap_or_else(|| default.to_owned()))
            })
            .collect();
        if let Some(user) = client.metadata().get(METADATA_USER) {
            parameters.insert("session_authorization".to_owned(), user.clone());
        }
        Some(parameters)
    }
}

/// Salted tokens by name.
struct Salted(Arc<Current>);

impl Debug for Salted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Salted").finish_non_exhaustive()
    }
}

#[async_trait]
impl AuthSource for Salted {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        let (salt, salted) = self.0.tokens.salted(login.user());
        Ok(Password::new(Some(salt), salted))
    }
}
