//! Errors with PostgreSQL's codes, and the rule that nothing follows a failed introduction.

use datafusion_postgres::pgwire::api::{ClientInfo, ErrorHandler, PgWireConnectionState};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError};
use tollgate_engine::{QueryError, QueryErrorKind};

/// An error of this code (`SQLSTATE`).
pub(super) fn error(code: &str, message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".to_owned(), code.to_owned(), message.into())))
}

/// An error that ends the connection.
pub(super) fn fatal(code: &str, message: impl Into<String>) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("FATAL".to_owned(), code.to_owned(), message.into())))
}

/// The client asked for the query to be ended.
pub(super) fn cancelled() -> PgWireError {
    error("57014", "canceling statement due to user request")
}

/// What the engine says about a query.
pub(super) fn of_query(query: QueryError) -> PgWireError {
    let mut info = ErrorInfo::new("ERROR".to_owned(), code(&query).to_owned(), query.message);
    info.hint = query.help;
    PgWireError::UserError(Box::new(info))
}

fn code(error: &QueryError) -> &'static str {
    match error.kind {
        QueryErrorKind::Syntax => "42601",
        QueryErrorKind::ReadOnly => "25006",
        QueryErrorKind::Denied => "42501",
        QueryErrorKind::Rows => "54000",
        QueryErrorKind::Memory => "53200",
        QueryErrorKind::Time => "57014",
        QueryErrorKind::Execution => "22000",
        QueryErrorKind::Plan if error.message.starts_with("unknown table") => "42P01",
        QueryErrorKind::Plan if error.message.starts_with("unknown column") => "42703",
        QueryErrorKind::Plan if error.message.starts_with("Invalid function") => "42883",
        QueryErrorKind::Plan => "42000",
    }
}

/// Ends a connection whose introduction failed, whatever the error was: after any other error the protocol's state would be
/// that of a client which may ask queries.
pub(super) struct Fatal;

impl ErrorHandler for Fatal {
    fn on_error<C: ClientInfo>(&self, client: &C, failed: &mut PgWireError) {
        let is_introduced = !matches!(
            client.state(),
            PgWireConnectionState::AwaitingSslRequest
                | PgWireConnectionState::AwaitingStartup
                | PgWireConnectionState::AuthenticationInProgress
        );
        if !is_introduced {
            let info = ErrorInfo::from(std::mem::replace(failed, PgWireError::InvalidSASLState));
            *failed = fatal(&info.code, info.message);
        }
    }
}
