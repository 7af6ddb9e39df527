//! `OperationService`: work that outlives the call that began it.

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Request, Response, Status};

use crate::{
    operations::{Operations, Watch},
    proto::{
        CancelOperationRequest, CancelOperationResponse, GetOperationRequest, GetOperationResponse,
        ListOperationsRequest, ListOperationsResponse, OperationEvent, OperationState,
        WatchOperationRequest, operation_service_server::OperationService,
    },
};

/// The answer of every call that begins or follows an operation.
pub type OperationEvents = Pin<Box<dyn Stream<Item = Result<OperationEvent, Status>> + Send>>;

/// Answers with the events of an operation.
pub fn events(watch: Watch) -> Response<OperationEvents> {
    Response::new(Box::pin(watch.stream()))
}

/// Serves `OperationService`.
#[derive(Debug, Clone)]
pub struct OperationApi {
    operations: Operations,
}

impl OperationApi {
    /// The service over these operations.
    pub fn new(operations: Operations) -> Self {
        Self { operations }
    }
}

#[tonic::async_trait]
impl OperationService for OperationApi {
    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let request = request.into_inner();
        let mut operations = self.operations.list();
        operations.retain(|operation| {
            (!request.running || operation.state() == OperationState::Running)
                && (request.kind.is_empty() || operation.kind == request.kind)
        });
        Ok(Response::new(ListOperationsResponse { operations }))
    }

    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<GetOperationResponse>, Status> {
        let operation = Some(self.operations.get(&request.into_inner().id)?);
        Ok(Response::new(GetOperationResponse { operation }))
    }

    type WatchOperationStream = OperationEvents;

    async fn watch_operation(
        &self,
        request: Request<WatchOperationRequest>,
    ) -> Result<Response<OperationEvents>, Status> {
        let request = request.into_inner();
        let watch = self.operations.watch(&request.id, request.after_position)?;
        Ok(events(watch))
    }

    async fn cancel_operation(
        &self,
        request: Request<CancelOperationRequest>,
    ) -> Result<Response<CancelOperationResponse>, Status> {
        let already_ended = self.operations.cancel(&request.into_inner().id)?;
        Ok(Response::new(CancelOperationResponse { already_ended }))
    }
}
