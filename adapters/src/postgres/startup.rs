//! How a client introduces itself: with a name and a token by SCRAM, or by its word alone where no tokens are configured.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::io;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use datafusion_postgres::pgwire::api::auth::sasl::SASLAuthStartupHandler;
use datafusion_postgres::pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, ScramAuth, gen_salted_password};
use datafusion_postgres::pgwire::api::auth::{
    AuthSource, LoginInfo, Password, ServerParameterProvider, StartupHandler, finish_authentication,
    protocol_negotiation, save_startup_parameters_to_metadata,
};
use datafusion_postgres::pgwire::api::{
    ClientInfo, METADATA_USER, PgWireConnectionState, PidSecretKeyGenerator, RandomPidSecretKeyGenerator,
};
use datafusion_postgres::pgwire::error::{PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use futures::Sink;

use super::error::fatal;
use super::running::Running;
use super::settings;

static KEYS: LazyLock<Arc<RandomPidSecretKeyGenerator>> = LazyLock::new(Arc::default);

/// The introduction of one client.
pub(super) struct Startup {
    scram: Option<SASLAuthStartupHandler<Parameters>>,
    running: Arc<Running>,
    needs_tls: bool,
}

impl Startup {
    pub(super) fn new(credentials: Option<&Arc<Credentials>>, running: Arc<Running>, needs_tls: bool) -> Self {
        let scram = credentials.map(|credentials| {
            let source: Arc<dyn AuthSource> = Arc::clone(credentials) as _;
            SASLAuthStartupHandler::new(Arc::new(Parameters))
                .with_pid_secret_key_generator(Arc::clone(&*KEYS) as _)
                .with_scram(ScramAuth::new(source))
        });
        Self { scram, running, needs_tls }
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
        if self.needs_tls && !client.is_secure() {
            return Err(fatal("28000", "connect with TLS: `sslmode=require`"));
        }
        match &self.scram {
            Some(scram) => scram.on_startup(client, message).await?,
            None => {
                let PgWireFrontendMessage::Startup(startup) = message else { return Ok(()) };
                protocol_negotiation(client, &startup).await?;
                save_startup_parameters_to_metadata(client, &startup);
                let (pid, secret) = KEYS.generate(client);
                client.set_pid_and_secret_key(pid, secret);
                finish_authentication(client, &Parameters).await?;
            }
        }
        if matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            settings::at_startup(client.metadata_mut());
            self.running.register(client);
        }
        Ok(())
    }
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

/// Names and salted tokens. One salt for all, so that an unknown name looks like a known one.
pub(super) struct Credentials {
    salt: [u8; 16],
    salted: HashMap<String, Vec<u8>>,
    /// What no token salts to.
    nobody: Vec<u8>,
}

impl Credentials {
    pub(super) fn new(tokens: Vec<(String, String)>) -> io::Result<Self> {
        let (salt, nobody) = (random()?, random::<32>()?.to_vec());
        let salted = |token: &str| gen_salted_password(token, &salt, SCRAM_ITERATIONS);
        let salted = tokens.iter().map(|(name, token)| (name.clone(), salted(token))).collect();
        Ok(Self { salt, salted, nobody })
    }
}

impl Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

#[async_trait]
impl AuthSource for Credentials {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        let salted = login.user().and_then(|user| self.salted.get(user)).unwrap_or(&self.nobody);
        Ok(Password::new(Some(self.salt.to_vec()), salted.clone()))
    }
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| io::Error::other("there is no source of randomness"))?;
    Ok(bytes)
}
