//! The data directory's socket: every service's stack for whoever may open the file (G3), with reflection and health.

use std::{convert::Infallible, fs, io, os::unix::fs::PermissionsExt, path::Path};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use tokio::net::{UnixListener, UnixStream};
use tonic::{
    Status,
    body::Body,
    codegen::http::{Request, Response},
    service::Routes,
};
use tower::Service;

use super::{Caller, Operator, OperatorProof, Stack, callers::CLAIMED_BY};
use crate::{
    errors::{Failure, Reason},
    lifecycle::{DRAIN, Shutdown},
};

/// Binds the socket (0600). One left by a process that died is replaced; the caller holds the directory's lock.
///
/// # Errors
/// Where the path cannot be bound.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the stacks on the socket at `path` until the stop is requested.
///
/// # Errors
/// Where the socket cannot be bound or the descriptors not be read.
pub async fn serve_unix(path: &Path, stacks: Vec<Stack>, shutdown: Shutdown) -> io::Result<()> {
    let listener = bind(path)?;
    let open = open_routes().await.map_err(io::Error::other)?;
    let path = path.to_owned();
    let tasks = shutdown.clone();
    tasks.spawn(async move {
        let graceful = GracefulShutdown::new();
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "the control socket refused a connection");
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = shutdown.requested() => break,
            };
            let (stacks, open) = (stacks.clone(), open.clone());
            let uid = peer_uid(&stream);
            let service = service_fn(move |request: Request<hyper::body::Incoming>| answer(stacks.clone(), open.clone(), uid, request));
            let mut builder = Builder::new(TokioExecutor::new()).http2_only();
            builder.http2().timer(TokioTimer::new());
            let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
            tokio::spawn(async move {
                let _ = connection.await; // the peer went away
            });
        }
        let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
        let _ = fs::remove_file(&path); // gone already is as good
    });
    Ok(())
}

/// Whoever runs this process, and root, who could be anybody.
fn may_operate(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

fn peer_uid(stream: &UnixStream) -> Option<u32> {
    stream.peer_cred().ok().map(|peer| peer.uid())
}

/// Reflection (v1, and v1alpha for older clients) and health: for anybody who may open the socket.
async fn open_routes() -> Result<Routes, tonic_reflection::server::Error> {
    let describe = || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(carelink_proto::DESCRIPTORS);
    let (health, service) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    Ok(Routes::new(service).add_service(describe().build_v1()?).add_service(describe().build_v1alpha()?).prepare())
}

async fn answer(
    stacks: Vec<Stack>,
    mut open: Routes,
    uid: Option<u32>,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    let claimed = request.headers().get(CLAIMED_BY).and_then(|name| name.to_str().ok()).map(|name| name.chars().take(64).collect());
    // The file's mode says so, too, but for the moment in which it is made.
    let Some(uid) = uid.filter(|uid| may_operate(*uid)) else { return Ok(Status::from(Failure::new(Reason::CallerRefused)).into_http()) };
    request.extensions_mut().insert(Caller::Operator(Operator { by: OperatorProof::Uid(uid), claimed }));
    let path = request.uri().path();
    if path.starts_with("/grpc.") {
        return open.call(request).await;
    }
    match stacks.into_iter().find(|stack| stack.serves(path)) {
        Some(mut stack) => stack.call(request).await,
        None => Ok(Status::unimplemented("no such method").into_http()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g3_nobody_operates_but_the_owner_and_root() {
        let own = rustix::process::geteuid().as_raw();
        assert!(may_operate(own) && may_operate(0));
        assert!(!may_operate(own + 4_711));
    }
}
