//! Flight SQL's commands. Handles carry everything, so that nothing is kept for a client that does not come back.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::IpcWriteOptions;
use arrow::record_batch::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    Any, CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    CommandPreparedStatementQuery, CommandStatementIngest, CommandStatementQuery, DoPutPreparedStatementResult,
    ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage, PutResult,
    SchemaAsIpc, Ticket,
};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::dataframe::DataFrame;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use prost::Message as _;
use tollgate_engine::{Engine, QueryError, QueryErrorKind, Reader};
use tonic::{Request, Response, Status, Streaming};

use super::{ingest, tables};

/// Largest message that is read, in bytes.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The service, for the gRPC server.
pub(crate) fn service(engine: Engine) -> FlightServiceServer<Flight> {
    FlightServiceServer::new(Flight { engine }).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

pub(crate) struct Flight {
    engine: Engine,
}

impl Flight {
    /// What whoever asks may read.
    async fn reader<T>(&self, request: &Request<T>) -> Result<Reader, Status> {
        let identity = crate::grpc::identity(request.extensions())?;
        self.engine.reader(&identity).await.map_err(|error| status(&error))
    }
}

type Rows = Response<<Flight as FlightService>::DoGetStream>;
type Info = Response<FlightInfo>;

#[tonic::async_trait]
impl FlightSqlService for Flight {
    type FlightService = Self;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>>, Status> {
        // Whoever gets here was let in. Clients that begin with name and token are told to go on with the token alone.
        let authorization = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let bearer = authorization.and_then(crate::guard::secret).map(|secret| format!("Bearer {secret}"));
        let mut response: Response<Pin<Box<dyn Stream<Item = _> + Send>>> =
            Response::new(Box::pin(futures::stream::empty()));
        if let Some(bearer) = bearer.and_then(|bearer| bearer.parse().ok()) {
            response.metadata_mut().insert("authorization", bearer);
        }
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Info, Status> {
        let statement = Statement { sql: query.query, values: None };
        let reader = self.reader(&request).await?;
        let schema = statement.schema(&self.engine, &reader).await?;
        let ticket = TicketStatementQuery { statement_handle: statement.encode()? };
        info(&schema, ticket.as_any(), request.into_inner())
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> Result<Rows, Status> {
        let reader = self.reader(&request).await?;
        Statement::decode(ticket.statement_handle)?.rows(&self.engine, &reader).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<arrow_flight::Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let statement = Statement { sql: query.query, values: None };
        let reader = self.reader(&request).await?;
        let (schema, parameters) = statement.describe(&self.engine, &reader).await?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: statement.encode()?,
            dataset_schema: ipc(&schema)?,
            parameter_schema: ipc(&parameters)?,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        _query: ActionClosePreparedStatementRequest,
        _request: Request<arrow_flight::Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Info, Status> {
        let reader = self.reader(&request).await?;
        let statement = Statement::decode(query.prepared_statement_handle.clone())?;
        let schema = statement.schema(&self.engine, &reader).await?;
        info(&schema, query.as_any(), request.into_inner())
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Rows, Status> {
        let reader = self.reader(&request).await?;
        Statement::decode(query.prepared_statement_handle)?.rows(&self.engine, &reader).await
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let mut statement = Statement::decode(query.prepared_statement_handle)?;
        statement.values = batches(request).try_next().await?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(statement.encode()?) })
    }

    async fn do_put_statement_ingest(
        &self,
        command: CommandStatementIngest,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let identity = crate::grpc::identity(request.extensions())?;
        ingest::rows(&self.engine, &identity, &command.table, batches(request)).await
    }

    async fn do_put_fallback(
        &self,
        mut request: Request<PeekableFlightDataStream>,
        _message: Any,
    ) -> Result<Response<<Self as FlightService>::DoPutStream>, Status> {
        let first = Pin::new(request.get_mut()).peek().await.cloned().transpose()?;
        let path = first.and_then(|data| data.flight_descriptor).map(|descriptor| descriptor.path).unwrap_or_default();
        let identity = crate::grpc::identity(request.extensions())?;
        let rows = ingest::rows(&self.engine, &identity, &path.join("."), batches(request)).await?;
        let result = PutResult { app_metadata: format!("{{\"rows\":{rows}}}").into() };
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(result)]))))
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Info, Status> {
        info(&query.into_builder().schema(), query.as_any(), request.into_inner())
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, _request: Request<Ticket>) -> Result<Rows, Status> {
        one(tables::catalogs(query))
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Info, Status> {
        let ticket = query.as_any();
        info(&query.into_builder().schema(), ticket, request.into_inner())
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, _request: Request<Ticket>) -> Result<Rows, Status> {
        one(tables::schemas(query))
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Info, Status> {
        let ticket = query.as_any();
        info(&query.into_builder().schema(), ticket, request.into_inner())
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> Result<Rows, Status> {
        let reader = self.reader(&request).await?;
        one(tables::tables(&self.engine, &reader, query).await)
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Info, Status> {
        info(&query.into_builder().schema(), query.as_any(), request.into_inner())
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, _request: Request<Ticket>) -> Result<Rows, Status> {
        one(tables::table_types(query))
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Info, Status> {
        let ticket = query.as_any();
        let schema = query.into_builder(tables::sql_info()?).schema();
        info(&schema, ticket, request.into_inner())
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, _request: Request<Ticket>) -> Result<Rows, Status> {
        one(query.into_builder(tables::sql_info()?).build())
    }

    async fn register_sql_info(&self, _id: i32, _info: &SqlInfo) {}
}

/// A query, and the values of its parameters once they are bound.
struct Statement {
    sql: String,
    values: Option<RecordBatch>,
}

impl Statement {
    /// The length of the text, the text, and the values as an Arrow stream.
    fn encode(&self) -> Result<Bytes, Status> {
        let mut bytes = BytesMut::new();
        bytes.put_u32(u32::try_from(self.sql.len()).map_err(|_| Status::invalid_argument("the query is too long"))?);
        bytes.put_slice(self.sql.as_bytes());
        if let Some(values) = &self.values {
            bytes.put_slice(&super::stream(values).map_err(|error| Status::internal(error.to_string()))?);
        }
        Ok(bytes.freeze())
    }

    fn decode(mut bytes: Bytes) -> Result<Self, Status> {
        let wrong = || Status::invalid_argument("the handle is not from here");
        let length = bytes.try_get_u32().map_err(|_| wrong())? as usize;
        if bytes.len() < length {
            return Err(wrong());
        }
        let sql = String::from_utf8(bytes.split_to(length).into()).map_err(|_| wrong())?;
        let values = match bytes.is_empty() {
            true => None,
            false => StreamReader::try_new(bytes.reader(), None)
                .map_err(|_| wrong())?
                .next()
                .transpose()
                .map_err(|_| wrong())?,
        };
        Ok(Self { sql, values })
    }

    async fn schema(&self, engine: &Engine, reader: &Reader) -> Result<SchemaRef, Status> {
        Ok(self.describe(engine, reader).await?.0)
    }

    /// Columns and parameters.
    async fn describe(&self, engine: &Engine, reader: &Reader) -> Result<(SchemaRef, SchemaRef), Status> {
        let (state, sql) = (engine.query_state(reader), self.sql.clone());
        let planning = async move {
            let plan = state.create_logical_plan(&sql).await?;
            let mut parameters: Vec<_> = plan.get_parameter_types()?.into_iter().collect();
            parameters.sort_by_key(|(id, _)| id.trim_start_matches('$').parse::<u32>().unwrap_or(u32::MAX));
            let parameter =
                |(id, data_type): (String, Option<DataType>)| Field::new(id, data_type.unwrap_or(DataType::Utf8), true);
            let parameters = Schema::new(parameters.into_iter().map(parameter).collect::<Vec<_>>());
            Ok((Arc::new(plan.schema().as_arrow().clone()), Arc::new(parameters)))
        };
        let (schema, parameters) = engine.plan(reader, planning).await.map_err(|error| status(&error))?;
        Ok((plain(&schema), plain(&parameters)))
    }

    async fn rows(self, engine: &Engine, reader: &Reader) -> Result<Rows, Status> {
        let state = engine.query_state(reader);
        let planning = async move {
            let plan = state.create_logical_plan(&self.sql).await?;
            let plan = match &self.values {
                Some(values) if values.num_rows() > 0 => plan.replace_params_with_values(&parameters(values)?)?,
                _ => plan,
            };
            Ok(DataFrame::new(state, plan))
        };
        let result = engine.run(reader, planning, None).await.map_err(|error| status(&error))?;
        let batches = result.batches.map_err(|error| FlightError::Tonic(Box::new(status(&error))));
        Ok(encode(result.schema, batches.boxed()))
    }
}

/// The first row of values, in order.
fn parameters(values: &RecordBatch) -> datafusion::error::Result<ParamValues> {
    let value = |column: &ArrayRef| ScalarValue::try_from_array(column, 0);
    let values = values.columns().iter().map(value).collect::<datafusion::error::Result<Vec<_>>>()?;
    Ok(ParamValues::from(values))
}

fn batches(request: Request<PeekableFlightDataStream>) -> BoxStream<'static, Result<RecordBatch, Status>> {
    let data = request.into_inner().map_err(|status| FlightError::Tonic(Box::new(status)));
    FlightRecordBatchStream::new_from_flight_data(data)
        .map_err(|error| Status::invalid_argument(error.to_string()))
        .boxed()
}

fn encode(schema: SchemaRef, batches: BoxStream<'static, Result<RecordBatch, FlightError>>) -> Rows {
    let data = FlightDataEncoderBuilder::new().with_schema(schema).build(batches);
    Response::new(Box::pin(data.map_err(Status::from)))
}

fn one(batch: Result<RecordBatch, FlightError>) -> Result<Rows, Status> {
    let batch = batch.map_err(|error| Status::internal(error.to_string()))?;
    Ok(encode(batch.schema(), futures::stream::iter([Ok(batch)]).boxed()))
}

fn info(schema: &SchemaRef, ticket: Any, descriptor: FlightDescriptor) -> Result<Info, Status> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket { ticket: ticket.encode_to_vec().into() });
    let info = FlightInfo::new().try_with_schema(schema).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Response::new(info.with_endpoint(endpoint).with_descriptor(descriptor)))
}

fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let message: Result<IpcMessage, _> = SchemaAsIpc::new(schema, &options).try_into();
    Ok(message.map_err(|error: arrow::error::ArrowError| Status::internal(error.to_string()))?.0)
}

/// The schema as rows are sent: with texts in place of dictionaries.
pub(super) fn plain(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| match field.data_type() {
        DataType::Dictionary(_, value) => Arc::new(field.as_ref().clone().with_data_type(value.as_ref().clone())),
        _ => Arc::clone(field),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

fn status(error: &QueryError) -> Status {
    let text = error.to_string();
    match error.kind {
        QueryErrorKind::Syntax | QueryErrorKind::Plan => Status::invalid_argument(text),
        QueryErrorKind::ReadOnly | QueryErrorKind::Denied => Status::permission_denied(text),
        QueryErrorKind::Memory | QueryErrorKind::Rows => Status::resource_exhausted(text),
        QueryErrorKind::Time => Status::deadline_exceeded(text),
        QueryErrorKind::Execution => Status::failed_precondition(text),
    }
}
