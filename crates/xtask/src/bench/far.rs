//! A proxy that makes a broker far: every byte arrives later by the same time, in each direction, and as many pass as before.
//!
//! Threads that sleep, because Tokio's timers end on whole milliseconds. Runs as a process of its own, so that its CPU time is nobody
//! else's, and ends with its handle.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Pieces on their way in one direction of a connection; the sender waits when there are more.
const PIECES: usize = 4096;
/// The largest piece.
const PIECE: usize = 64 * 1024;

type Piece = (Instant, Box<[u8]>);

/// Listens at `port` and passes everything to loopback's `target`, each byte `delay` later.
///
/// # Errors
/// The port is taken.
pub(super) fn serve(port: u16, target: u16, delay: Duration) -> Result<()> {
    for client in TcpListener::bind(("127.0.0.1", port))?.incoming() {
        // Whoever could not be connected is closed, and tries again.
        if let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", target))) {
            carry(&client, &server, delay)?;
            carry(&server, &client, delay)?;
        }
    }
    Ok(())
}

/// Carries one direction on two threads, until one side closes.
fn carry(from: &TcpStream, to: &TcpStream, delay: Duration) -> Result<()> {
    to.set_nodelay(true)?;
    let (from, to) = (from.try_clone()?, to.try_clone()?);
    let (queue, pieces) = sync_channel(PIECES);
    thread::spawn(move || read(from, &queue, delay));
    thread::spawn(move || write(to, &pieces));
    Ok(())
}

fn read(mut from: TcpStream, queue: &SyncSender<Piece>, delay: Duration) {
    let mut space = vec![0; PIECE];
    while let Ok(length) = from.read(&mut space) {
        let piece = (Instant::now() + delay, space[..length].into());
        if length == 0 || queue.send(piece).is_err() {
            return;
        }
    }
}

fn write(mut to: TcpStream, pieces: &Receiver<Piece>) {
    for (due, piece) in pieces {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    // A side that has closed already is closed.
    to.shutdown(Shutdown::Both).unwrap_or_default();
}
