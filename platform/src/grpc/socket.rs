//! The data directory's socket: every service's stack for whoever may open the file (G3), with reflection and health.

use std::{convert::Infallible, fs, io, os::unix::fs::PermissionsExt, path::Path};

use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    body::Body,
    codegen::http::{Request, Response},
};

use super::{Caller, Operator, OperatorProof, Stack, dispatch::Dispatch};
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
    let dispatch = Dispatch::new(stacks, None).await.map_err(io::Error::other)?;
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
            let (dispatch, uid) = (dispatch.clone(), peer_uid(&stream));
            let service = service_fn(move |request: Request<Incoming>| answer(dispatch.clone(), uid, request));
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

async fn answer(dispatch: Dispatch, uid: Option<u32>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    // The file's mode says so, too, but for the moment in which it is made.
    let Some(uid) = uid.filter(|uid| may_operate(*uid)) else { return Ok(Status::from(Failure::new(Reason::CallerRefused)).into_http()) };
    let caller = Caller::Operator(Operator { by: OperatorProof::Uid(uid), claimed: None });
    Ok(dispatch.answer(request, caller, CancellationToken::new()).await)
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
