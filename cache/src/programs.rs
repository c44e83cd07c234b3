//! Writes files that are going to be executed, so that they can be: never `ETXTBSY`.
//!
//! The kernel refuses to execute a file that anybody has open for writing. A process another thread is just
//! forking has a copy of every descriptor until it executes something itself, so a program written on an
//! ordinary thread is still "open for writing" for a moment after it was closed (seen in 72 of 2,000 restores
//! beside two threads that start processes). Programs are therefore written on a thread with a descriptor
//! table of its own, which no fork elsewhere copies. That thread touches nothing but the files it makes
//! itself: a descriptor opened there would mean another file everywhere else. What a store gives comes to it
//! in pieces, at most a few at a time.
#![allow(clippy::disallowed_methods, reason = "shell: writes files on a thread of its own")]

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use rustix::fs::Mode;

use crate::folder::{FileFacts, Folder, facts_of};
use crate::system;

/// Pieces on their way to the thread.
const PIECES: usize = 4;

enum Order {
    Create(Vec<u8>),
    Piece(Vec<u8>),
    Finish,
}

/// Writes programs into the folder it was made for.
pub(crate) struct Writer {
    orders: SyncSender<Order>,
    finished: Receiver<io::Result<FileFacts>>,
}

/// Lends a writer of programs into `folder` to `work`.
pub(crate) fn with_writer<T>(folder: &Folder, work: impl FnOnce(&Writer) -> T) -> T {
    std::thread::scope(|scope| {
        let (orders, to_do) = sync_channel(PIECES);
        let (tell, finished) = channel();
        scope.spawn(move || serve(folder, &to_do, &tell));
        work(&Writer { orders, finished })
    })
}

impl Writer {
    /// Makes the program `name` of what `fill` writes; what `fill` says comes first, then how writing went.
    pub(crate) fn write<E>(
        &self,
        name: &[u8],
        fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<io::Result<FileFacts>, E> {
        let mut pieces = Pieces(&self.orders);
        pieces.order(Order::Create(name.to_vec()));
        let filled = fill(&mut pieces);
        pieces.order(Order::Finish);
        let written = self.finished.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        filled.map(|()| written)
    }
}

struct Pieces<'a>(&'a SyncSender<Order>);

impl Pieces<'_> {
    fn order(&mut self, order: Order) {
        // If the thread is gone, there will be no answer either.
        let _ = self.0.send(order);
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.order(Order::Piece(bytes.to_vec()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn serve(folder: &Folder, orders: &Receiver<Order>, tell: &Sender<io::Result<FileFacts>>) {
    system::use_own_descriptors();
    let mut current: io::Result<File> = Err(io::ErrorKind::NotFound.into());
    for order in orders {
        match order {
            Order::Create(name) => current = folder.create_file(&name, Mode::from_raw_mode(0o755)),
            Order::Piece(bytes) => {
                if let Some(error) = current.as_ref().ok().and_then(|mut file| file.write_all(&bytes).err()) {
                    current = Err(error);
                }
            }
            Order::Finish => {
                let file = std::mem::replace(&mut current, Err(io::ErrorKind::NotFound.into()));
                // Closed before it is told of.
                let facts = file.and_then(|file| facts_of(&file));
                let _ = tell.send(facts);
            }
        }
    }
}
