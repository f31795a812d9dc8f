//! A TCP proxy that does to connections what networks do: slow them, starve them, cut them, or say nothing any more.
//!
//! It stands between two processes and knows nothing of what they say.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};

/// Read at once, and the step of a throttled connection.
const CHUNK: usize = 16 * 1024;

/// What is done to everything that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Everything arrives so much later, in either direction.
    Delay(Duration),
    /// So many bytes a second and direction.
    Throttle(u32),
    /// Connections are open and nothing passes: what was sent is lost without a word, also of those that come now.
    HalfOpen,
    /// Connections are closed, and so is each that comes.
    Cut,
}

/// A running proxy; it ends, and its connections with it, when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    target: Arc<RwLock<SocketAddr>>,
    fault: watch::Sender<Fault>,
    open: Arc<AtomicUsize>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Listens on a port of `127.0.0.1` for whoever wants to reach `target`.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, watching) = watch::channel(Fault::None);
        let (target, open) = (Arc::new(RwLock::new(target)), Arc::new(AtomicUsize::new(0)));
        let accepting = tokio::spawn(accept(listener, target.clone(), watching, open.clone()));
        Self { address, target, fault, open, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections go there from now on.
    pub fn aim(&self, target: SocketAddr) {
        *self.target.write().unwrap() = target;
    }

    /// From now on this is done. What was swallowed stays lost, and a connection that lost something stays dumb.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.fault.send_replace(Fault::Cut);
    }
}

async fn accept(listener: TcpListener, target: Arc<RwLock<SocketAddr>>, fault: watch::Receiver<Fault>, open: Arc<AtomicUsize>) {
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        let (target, fault, open) = (*target.read().unwrap(), fault.clone(), open.clone());
        tokio::spawn(async move {
            open.fetch_add(1, Ordering::Relaxed);
            let _ = carry(near, target, fault).await; // broken connections are what this is about
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn carry(near: TcpStream, target: SocketAddr, mut fault: watch::Receiver<Fault>) -> io::Result<()> {
    let now = *fault.borrow();
    match now {
        Fault::Cut => return Ok(()),
        Fault::HalfOpen => {
            // Nobody is behind it, and nobody says so.
            let mut near = near;
            return tokio::select! {
                swallowed = swallow(&mut near) => swallowed,
                () = is_cut(&mut fault) => Ok(()),
            };
        }
        _ => {}
    }
    let far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let (there, back) = (pump(near_in, far_out, fault.clone()), pump(far_in, near_out, fault.clone()));
    tokio::select! {
        done = async { tokio::try_join!(there, back) } => done.map(|_| ()),
        () = is_cut(&mut fault) => Ok(()),
    }
}

async fn is_cut(fault: &mut watch::Receiver<Fault>) {
    let _ = fault.wait_for(|fault| *fault == Fault::Cut).await;
}

async fn swallow(from: &mut (impl AsyncReadExt + Unpin)) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    while from.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// One direction. Reading and writing are apart, so that a delay is one and not the sum of all chunks'.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fault: watch::Receiver<Fault>) -> io::Result<()> {
    let (sender, mut arriving) = tokio::sync::mpsc::channel::<(tokio::time::Instant, Vec<u8>)>(64);
    let read = async {
        let sender = sender; // gone with the last byte
        loop {
            let mut buffer = vec![0; CHUNK];
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            buffer.truncate(count);
            let now = *fault.borrow();
            let due = match now {
                Fault::HalfOpen => return swallow_on(&mut from).await,
                Fault::Delay(by) => tokio::time::Instant::now() + by,
                _ => tokio::time::Instant::now(),
            };
            if sender.send((due, buffer)).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async {
        while let Some((due, buffer)) = arriving.recv().await {
            tokio::time::sleep_until(due).await;
            let now = *fault.borrow();
            match now {
                Fault::Throttle(rate) => {
                    let step = (usize::try_from(rate).unwrap() / 20).max(1);
                    for piece in buffer.chunks(step) {
                        to.write_all(piece).await?;
                        sleep(Duration::from_millis(50)).await;
                    }
                }
                Fault::HalfOpen => std::future::pending().await, // it left, and never arrived
                _ => to.write_all(&buffer).await?,
            }
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|((), ())| ())
}

/// Reads on so that the sender notices nothing; the other side is never told.
async fn swallow_on(from: &mut OwnedReadHalf) -> io::Result<()> {
    swallow(from).await?;
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const SOON: Duration = Duration::from_millis(300);

    /// A server that says everything back, behind a proxy.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut input, mut output) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut input, &mut output).await });
            }
        });
        Proxy::to(address).await
    }

    async fn ask(stream: &mut TcpStream) -> io::Result<()> {
        let mut answer = [0; 5];
        stream.write_all(b"hello").await?;
        stream.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"hello");
        Ok(())
    }

    #[tokio::test]
    async fn what_passes_is_slowed_swallowed_or_cut_as_it_is_told() {
        let proxy = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        ask(&mut stream).await.unwrap();

        proxy.set(Fault::Delay(Duration::from_millis(50)));
        let began = Instant::now();
        ask(&mut stream).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(100), "there and back");

        proxy.set(Fault::Throttle(40));
        let began = Instant::now();
        ask(&mut stream).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(100), "five bytes at forty a second");

        proxy.set(Fault::None);
        let mut spared = TcpStream::connect(proxy.address()).await.unwrap();
        ask(&mut spared).await.unwrap();
        proxy.set(Fault::HalfOpen);
        assert!(timeout(SOON, ask(&mut stream)).await.is_err(), "no answer and no error");
        let mut late = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(timeout(SOON, ask(&mut late)).await.is_err(), "whoever comes now is not answered either");
        proxy.set(Fault::None);
        assert!(timeout(SOON, stream.read_u8()).await.is_err(), "what was lost stays lost");
        ask(&mut spared).await.unwrap();

        proxy.set(Fault::Cut);
        assert!(ask(&mut spared).await.is_err());
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(ask(&mut refused).await.is_err());
    }
}
