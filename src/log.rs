//! The log of an action's output on disk.
//!
//! Format, version 1: the line `iact-log 1\n`, then frames until the end of the file. A frame is one byte
//! that names the stream (1 standard output, 2 standard error), the length of its bytes as a little-endian
//! `u32`, and the bytes. The last frame is stream 0 with length 0; a log without it was cut off, and what is
//! there is still what was written.
//!
//! Invariants: appended to only; replaying any prefix of a log gives a prefix of the output; memory is
//! bounded whatever a damaged length says. An action without output has no log. A write error is a value that
//! the writer keeps: it is no failure of the action, but its result is not to be stored. Refused: a length at
//! the front of the file or an index, which a killed run would leave wrong.
#![allow(clippy::disallowed_methods, reason = "shell: writes and reads the log file")]

use crate::report::Stream;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

const HEAD: &[u8] = b"iact-log 1\n";
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const END: u8 = 0;
const FRAME_HEAD: usize = 5;

/// Writes a log, which exists once there is something to write.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    /// Whether an earlier one may be there.
    replaces: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Empty,
    Open(BufWriter<File>),
    Failed(io::Error),
}

impl LogWriter {
    /// A log to be at this path, in place of an earlier one. Touches nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, replaces: true, state: State::Empty }
    }

    /// The same where it is known that there is no earlier one.
    pub fn first(path: PathBuf) -> Self {
        Self { path, replaces: false, state: State::Empty }
    }

    /// Appends a piece of output.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let State::Empty = self.state {
            self.state = create(&self.path).map_or_else(State::Failed, State::Open);
        }
        if let State::Open(file) = &mut self.state
            && let Err(error) = write_frames(file, stream, bytes)
        {
            self.state = State::Failed(error);
        }
    }

    /// Completes the log, or removes an earlier one if there was no output; whether there is a log now.
    ///
    /// # Errors
    /// The first write that failed.
    pub fn finish(self) -> io::Result<bool> {
        match self.state {
            State::Failed(error) => Err(error),
            State::Open(mut file) => {
                write_frame(&mut file, END, &[])?;
                file.flush().map(|()| true)
            }
            State::Empty if !self.replaces => Ok(false),
            State::Empty => match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(false),
            },
        }
    }
}

fn create(path: &Path) -> io::Result<BufWriter<File>> {
    let file = match File::create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            File::create(path)
        }
        other => other,
    };
    let mut file = BufWriter::new(file?);
    file.write_all(HEAD)?;
    Ok(file)
}

fn write_frames(file: &mut impl Write, stream: Stream, bytes: &[u8]) -> io::Result<()> {
    let tag = match stream {
        Stream::Stdout => STDOUT,
        Stream::Stderr => STDERR,
    };
    bytes.chunks(u32::MAX as usize).try_for_each(|bytes| write_frame(file, tag, bytes))
}

fn write_frame(file: &mut impl Write, tag: u8, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut head = [tag; FRAME_HEAD];
    head[1..].copy_from_slice(&length.to_le_bytes());
    file.write_all(&head)?;
    file.write_all(bytes)
}

/// What reading a log came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// Everything that was written.
    Whole,
    /// The log was cut off or damaged: this is what comes before.
    Prefix,
}

/// Reads a log.
#[derive(Debug)]
pub struct LogReader<R> {
    source: R,
}

impl LogReader<BufReader<File>> {
    /// The log at this path.
    ///
    /// # Errors
    /// It cannot be opened; an action without output has none.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::new(BufReader::new(File::open(path)?)))
    }
}

impl<R: Read> LogReader<R> {
    /// A log in this source.
    pub fn new(source: R) -> Self {
        Self { source }
    }

    /// Gives everything to `sink` in the order it was written.
    ///
    /// # Errors
    /// The source cannot be read, or `sink` failed.
    pub fn replay(mut self, mut sink: impl FnMut(Stream, &[u8]) -> io::Result<()>) -> io::Result<Replayed> {
        let mut head = [0; HEAD.len()];
        if self.fill(&mut head)? < head.len() || head != HEAD {
            return Ok(Replayed::Prefix);
        }
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let mut head = [0; FRAME_HEAD];
            if self.fill(&mut head)? < head.len() {
                return Ok(Replayed::Prefix);
            }
            let mut left = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let stream = match head[0] {
                STDOUT => Stream::Stdout,
                STDERR => Stream::Stderr,
                END if left == 0 => return Ok(Replayed::Whole),
                _ => return Ok(Replayed::Prefix),
            };
            while left > 0 {
                let want = left.min(buffer.len());
                let got = self.fill(&mut buffer[..want])?;
                if got > 0 {
                    sink(stream, &buffer[..got])?;
                }
                if got < want {
                    return Ok(Replayed::Prefix);
                }
                left -= got;
            }
        }
    }

    /// The two streams apart.
    ///
    /// # Errors
    /// The source cannot be read or a writer failed.
    pub fn split(self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Replayed> {
        self.replay(|stream, bytes| match stream {
            Stream::Stdout => out.write_all(bytes),
            Stream::Stderr => err.write_all(bytes),
        })
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Output = (Vec<u8>, Vec<u8>);

    fn read(log: &[u8]) -> (Output, Replayed) {
        let (mut out, mut err) = Output::default();
        let replayed = LogReader::new(log).split(&mut out, &mut err).expect("memory can be read");
        ((out, err), replayed)
    }

    fn sample(path: &Path) -> Vec<u8> {
        let mut log = LogWriter::new(path.to_owned());
        log.write(Stream::Stdout, b"one\ntwo\n");
        log.write(Stream::Stderr, b"\xff\x00warning\n");
        log.write(Stream::Stdout, b"");
        log.write(Stream::Stdout, &vec![b'x'; 150_000]);
        assert!(log.finish().unwrap());
        std::fs::read(path).unwrap()
    }

    #[test]
    fn a_log_cut_anywhere_gives_a_prefix_and_only_a_whole_one_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let whole = sample(&folder.path().join("new/folder/log"));
        let ((out, err), replayed) = read(&whole);
        assert_eq!(
            (replayed, out.len(), err.as_slice()),
            (Replayed::Whole, 150_008, &b"\xff\x00warning\n"[..])
        );
        for cut in (0..300).chain((300..whole.len()).step_by(977)).chain(whole.len() - 20..whole.len()) {
            let ((o, e), replayed) = read(&whole[..cut]);
            assert!(
                out.starts_with(&o) && err.starts_with(&e) && replayed == Replayed::Prefix,
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn no_flipped_byte_makes_reading_panic_or_remember_much() {
        let folder = tempfile::tempdir().unwrap();
        let whole = sample(&folder.path().join("log"));
        for at in 0..60 {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                read(&damaged);
            }
        }
    }

    #[test]
    fn no_output_means_no_log_and_a_write_error_is_a_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "of an earlier run").unwrap();
        assert!(!LogWriter::new(path.clone()).finish().unwrap());
        assert!(!path.exists());
        let mut log = LogWriter::new(folder.path().to_owned());
        log.write(Stream::Stdout, b"x");
        log.write(Stream::Stdout, b"y");
        assert!(log.finish().is_err());
        let mut log = LogWriter::new("/dev/full".into());
        log.write(Stream::Stdout, &[0; 100_000]);
        assert_eq!(log.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
