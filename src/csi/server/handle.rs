//! One call through its bounds to its service and back: a place, the whole request, the deadline, the answer.
//!
//! The request is read whole before the service sees it, so that whoever sends slowly waits for nobody but himself. A passed deadline
//! ends the answer, never the work: that belongs to the plugin.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::{Request, Response};
use tonic::{Code, Status};
use tower::ServiceExt;

use super::call::Call;
use super::limits::{ARRIVAL, MESSAGE};
use super::seats::Seat;
use super::shared::Shared;
use super::{deadline, object};

/// Bytes in front of a message.
const PREFIX: usize = 5;

/// Answers one call.
pub async fn handle(
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let mut call = Call::begin(shared.clone(), &seat, request.uri().path());
    let limit = request.headers().get("grpc-timeout").and_then(|value| deadline::parse(value.to_str().ok()?));
    let answer = match limit {
        None => serve(&shared, &mut call, request).await,
        Some(limit) => match tokio::time::timeout(limit, serve(&shared, &mut call, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded(format!(
                "no answer within {}; the work goes on, and the same call finds it",
                shown(limit)
            ))),
        },
    };
    let answer = answer.unwrap_or_else(Status::into_http);
    // An error without any message has its code here already; all others have it behind their messages.
    if let Some(status) = Status::from_header_map(answer.headers()) {
        call.ended(status.code(), status.message());
    }
    Ok(answer.map(|body| Answer { body, call }))
}

fn shown(limit: Duration) -> String {
    format!("{limit:?}")
}

async fn serve(
    shared: &Shared,
    call: &mut Call,
    request: Request<Incoming>,
) -> Result<Response<tonic::body::Body>, Status> {
    if shared.is_ending() {
        return Err(Status::unavailable("the server is ending; try again when its successor is there"));
    }
    let Ok(_place) = shared.calls.try_acquire() else {
        shared.metrics.refused_calls.inc();
        return Err(Status::unavailable("too many calls at once; try again in a moment"));
    };
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(ARRIVAL, Limited::new(body, MESSAGE + PREFIX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(Status::resource_exhausted(format!("the request is larger than {MESSAGE} bytes")));
        }
        Ok(Err(error)) => return Err(Status::cancelled(format!("the request did not arrive whole: {error}"))),
        Err(_) => return Err(Status::deadline_exceeded("the request did not arrive in time")),
    };
    if let Some(rpc) = call.rpc() {
        if !shared.mode.offers(rpc.service) {
            let (name, mode) = (rpc.name, shared.mode.as_str());
            let message = format!("{name} is not offered by a server with --mode {mode}: call the server that has it");
            return Err(Status::unimplemented(message));
        }
        call.about(object::of(rpc, &body));
    }
    let request = Request::from_parts(head, Full::new(body));
    let Ok(answer) = shared.routes.clone().oneshot(request).await;
    Ok(answer)
}

/// An answer on its way: the call ends with its last byte.
pub struct Answer {
    body: tonic::body::Body,
    call: Call,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
                    this.call.ended(status.code(), status.message());
                }
            }
            Some(Err(status)) => this.call.ended(status.code(), status.message()),
            None => this.call.ended(Code::Ok, ""),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
