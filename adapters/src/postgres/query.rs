//! The simple protocol: a text with any number of statements, answered one after the other.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::api::query::{
    SimpleQueryHandler, send_execution_response, send_query_response, send_ready_for_query,
};
use datafusion_postgres::pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use datafusion_postgres::pgwire::api::store::PortalStore;
use datafusion_postgres::pgwire::api::{ClientInfo, ClientPortalStore, PgWireConnectionState, Type, copy};
use datafusion_postgres::pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use datafusion_postgres::pgwire::messages::PgWireBackendMessage;
use datafusion_postgres::pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use datafusion_postgres::pgwire::messages::simplequery::Query;
use datafusion_postgres::pgwire::messages::startup::ParameterStatus;
use datafusion_postgres::pgwire::types::format::FormatOptions;
use futures::{Sink, SinkExt as _, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::error::error;
use super::names::Names;
use super::running;
use super::session::{Asking, Batches, Sessions};
use super::settings::{self, Outcome};
use super::statement::{Facts, Statement, unknown_setting};
use super::types::Columns;

#[async_trait]
impl SimpleQueryHandler for Sessions {
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        let (identity, cancel) = running::begin(client)?;
        let asking = self.asking(&identity).await?;
        let statements = self.parse(&query.query, &Facts::of(client))?;
        client.set_state(PgWireConnectionState::QueryInProgress);
        if statements.is_empty() {
            client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
        }
        // One after the other, so that a text of many queries takes no more than one of them.
        for statement in statements {
            let response = self.answer(client, statement, &asking, &cancel).await?;
            send(client, response).await?;
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        let status = client.transaction_status();
        send_ready_for_query(client, status).await
    }

    async fn do_query<C>(&self, _client: &mut C, _query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // `on_query` answers everything itself.
        Ok(Vec::new())
    }
}

async fn send<C>(client: &mut C, response: Response) -> PgWireResult<()>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    match response {
        Response::Query(rows) => send_query_response(client, rows, true).await,
        Response::Execution(tag) => send_execution_response(client, tag).await,
        Response::TransactionStart(tag) => {
            let status = client.transaction_status().to_in_transaction_state();
            client.set_transaction_status(status);
            send_execution_response(client, tag).await
        }
        Response::TransactionEnd(tag) => {
            client.set_transaction_status(TransactionStatus::Idle);
            send_execution_response(client, tag).await
        }
        Response::CopyOut(rows) => copy::send_copy_out_response(client, rows).await,
        _ => Err(error("XX000", "there is no such answer")),
    }
}

impl Sessions {
    /// Answers one statement of the simple protocol.
    async fn answer<C>(
        &self,
        client: &mut C,
        statement: Statement,
        asking: &Arc<Asking>,
        cancel: &CancellationToken,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        refuse_when_aborted(client, &statement)?;
        match statement {
            Statement::Query(query, names) => {
                let plan = self.plan(asking, &query, cancel).await?;
                let columns = Columns::new(plan.get().schema().as_arrow(), &names);
                let options = Arc::new(FormatOptions::from_client_metadata(client.metadata()));
                let infos = columns.describe(&Format::UnifiedText, &options)?;
                let batches = self.start(&plan, settings::statement_timeout(client.metadata()), cancel).await?;
                Ok(Response::Query(rows(columns, infos, batches)))
            }
            Statement::Copy(query, format) => {
                let plan = self.plan(asking, &query, cancel).await?;
                let columns = Columns::new(plan.get().schema().as_arrow(), &Names::default());
                let batches = self.start(&plan, settings::statement_timeout(client.metadata()), cancel).await?;
                super::copy::rows(columns, &format, batches).map(Response::CopyOut)
            }
            other => act(client, other).await,
        }
    }
}

/// After an error within a transaction, only its end is heard.
pub(super) fn refuse_when_aborted(client: &(impl ClientInfo + ?Sized), statement: &Statement) -> PgWireResult<()> {
    let is_aborted = client.transaction_status() == TransactionStatus::Error;
    match is_aborted && !matches!(statement, Statement::Commit | Statement::Rollback) {
        true => Err(error("25P02", "current transaction is aborted, commands ignored until end of transaction block")),
        false => Ok(()),
    }
}

/// Does what is neither a query nor `COPY`.
pub(super) async fn act<C>(client: &mut C, statement: Statement) -> PgWireResult<Response>
where
    C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    Ok(match statement {
        Statement::Begin => Response::TransactionStart(Tag::new("BEGIN")),
        Statement::Commit if client.transaction_status() == TransactionStatus::Error => {
            Response::TransactionEnd(Tag::new("ROLLBACK"))
        }
        Statement::Commit => Response::TransactionEnd(Tag::new("COMMIT")),
        Statement::Rollback => Response::TransactionEnd(Tag::new("ROLLBACK")),
        Statement::Set(name, value) => {
            set(client, &name, value).await?;
            Response::Execution(Tag::new("SET"))
        }
        Statement::ResetAll(tag) => {
            settings::reset(client.metadata_mut());
            Response::Execution(Tag::new(tag))
        }
        Statement::Show(None) => {
            let rows =
                settings::all(client.metadata()).into_iter().map(|(name, value)| vec![name, value, String::new()]);
            Response::Query(texts(&["name", "setting", "description"], rows.collect())?)
        }
        Statement::Show(Some(name)) => {
            let value = settings::get(client.metadata(), &name).ok_or_else(|| unknown_setting(&name))?;
            Response::Query(texts(&[&name.to_ascii_lowercase()], vec![vec![value]])?)
        }
        Statement::Done(tag) => Response::Execution(Tag::new(tag)),
        Statement::Deallocate(_) => Response::Execution(Tag::new("DEALLOCATE")),
        Statement::Query(..) | Statement::Copy(..) => return Err(error("XX000", "a query is no command")),
    })
}

async fn set<C>(client: &mut C, name: &str, value: Option<String>) -> PgWireResult<()>
where
    C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    match settings::set(client.metadata_mut(), name, value) {
        Outcome::Unknown => Err(unknown_setting(name)),
        Outcome::Taken(None) => Ok(()),
        Outcome::Taken(Some(name)) => {
            let value = settings::get(client.metadata(), name).unwrap_or_default();
            let status = ParameterStatus::new(name.to_owned(), value);
            Ok(client.feed(PgWireBackendMessage::ParameterStatus(status)).await?)
        }
        Outcome::Kept => {
            // Clients set zones and encodings as a matter of course, and break when they are refused.
            let kept = settings::get(client.metadata(), name).unwrap_or_default();
            let message = format!("\"{name}\" stays \"{kept}\"");
            let notice = ErrorInfo::new("NOTICE".to_owned(), "01000".to_owned(), message);
            Ok(client.feed(PgWireBackendMessage::NoticeResponse(notice.into())).await?)
        }
    }
}

/// An answer that needs no query.
fn texts(names: &[&str], rows: Vec<Vec<String>>) -> PgWireResult<QueryResponse> {
    let info = |name: &&str| FieldInfo::new((*name).to_owned(), None, None, Type::TEXT, FieldFormat::Text);
    let infos: Arc<Vec<FieldInfo>> = Arc::new(names.iter().map(info).collect());
    let mut encoder = DataRowEncoder::new(Arc::clone(&infos));
    let encode = |row: Vec<String>| {
        row.iter().try_for_each(|value| encoder.encode_field(&Some(value.as_str())))?;
        Ok(encoder.take_row())
    };
    let rows: Vec<_> = rows.into_iter().map(encode).collect();
    let mut response = QueryResponse::new(infos, stream::iter(rows));
    response.set_command_tag("SHOW");
    Ok(response)
}

/// The rows of a query as messages.
pub(super) fn rows(columns: Columns, infos: Vec<FieldInfo>, batches: Batches) -> QueryResponse {
    let infos = Arc::new(infos);
    let columns = Arc::new(columns);
    let described = Arc::clone(&infos);
    let rows = batches.flat_map(move |batch| {
        let (columns, infos) = (Arc::clone(&columns), Arc::clone(&described));
        let converted = batch.and_then(|batch| {
            let arrays = columns.convert(&batch).map_err(|wrong| error("22003", wrong.to_string()))?;
            Ok((arrays, batch.num_rows()))
        });
        match converted {
            Err(error) => stream::iter(vec![Err(error)]).left_stream(),
            Ok((arrays, count)) => {
                let mut encoder = DataRowEncoder::new(Arc::clone(&infos));
                let encode = move |row| {
                    columns.encode(&mut encoder, &arrays, row, &infos)?;
                    Ok(encoder.take_row())
                };
                stream::iter((0..count).map(encode)).right_stream()
            }
        }
    });
    QueryResponse::new(infos, rows)
}
