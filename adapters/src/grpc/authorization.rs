//! `Authorization.Check`: one request, decided here.

use tollgate_api::v1;
use tollgate_engine::Engine;
use tonic::{Request, Response, Status};

pub(super) struct Authorization {
    engine: Engine,
}

impl Authorization {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl v1::authorization_server::Authorization for Authorization {
    async fn check(&self, request: Request<v1::CheckRequest>) -> Result<Response<v1::CheckResponse>, Status> {
        // It tells of any service and may take its tokens, so whoever asks has to be one who reports.
        let identity = super::identity(request.extensions())?;
        self.engine.may_report(&identity, identity.name()).map_err(|error| super::refused(&error))?;
        let request = request.into_inner();
        for (field, value) in [("destination", &request.destination), ("method", &request.method)] {
            if value.is_empty() {
                return Err(Status::invalid_argument(format!("`{field}` is empty")));
            }
        }
        Ok(Response::new(self.engine.check(&request)))
    }
}
