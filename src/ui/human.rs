//! A run for people: what [`talk`](super::talk) has to say, on a terminal or as plain lines.
//!
//! Commands' standard output goes to standard output and everything else to standard error, so that `iact
//! print-version > file` does what one expects. On a watched terminal and on GitHub both are the same place,
//! and all goes one way to stay in order.

use super::Sink;
use super::door::{self, Pipe};
use super::look::Look;
use super::model::Model;
use super::paint::Paint;
use super::talk::Talk;
use super::terminal::Terminal;
use super::voices::{Piece, Voice};
use crate::log::LogReader;
use crate::report::{Report, Stream};
use std::path::Path;

pub(super) struct Human {
    talk: Talk,
    model: Model,
    terminal: Option<Terminal>,
    one_way: Option<Pipe>,
    verbose: bool,
}

impl Human {
    pub(super) fn new(look: &Look) -> Self {
        let one_way = if look.github { Some(Pipe::Stdout) } else { None };
        Self {
            talk: Talk::new(look),
            model: Model::default(),
            terminal: look.live.then(|| Terminal::new(Paint(look.color))),
            one_way,
            verbose: look.verbose > 0,
        }
    }

    fn show(&mut self, piece: Piece) {
        match piece {
            Piece::Own(text) => self.write(Pipe::Stderr, text.as_bytes()),
            Piece::Answer(text) => self.write(Pipe::Stdout, text.as_bytes()),
            Piece::Said(stream, lines) => self.said(stream, &lines),
            Piece::Log(path) => self.replay(&path),
        }
    }

    fn write(&mut self, pipe: Pipe, bytes: &[u8]) {
        match &mut self.terminal {
            Some(terminal) => terminal.print(bytes),
            None => door::write(self.one_way.unwrap_or(pipe), bytes),
        }
    }

    fn said(&mut self, stream: Stream, lines: &[u8]) {
        match stream {
            Stream::Stdout => self.write(Pipe::Stdout, lines),
            Stream::Stderr => self.write(Pipe::Stderr, lines),
        }
    }

    fn replay(&mut self, path: &Path) {
        let mut voice = Voice::default();
        let replayed = LogReader::open(path).and_then(|log| {
            log.replay(|stream, bytes| {
                voice.lines(stream, bytes).iter().for_each(|lines| self.said(stream, lines));
                Ok(())
            })
        });
        for stream in [Stream::Stdout, Stream::Stderr] {
            voice.rest(stream).iter().for_each(|lines| self.said(stream, lines));
        }
        if let Err(error) = replayed {
            self.write(Pipe::Stderr, format!("… its log cannot be read: {error}\n").as_bytes());
        }
    }
}

impl Sink for Human {
    fn wants_up_to_date(&self) -> bool {
        self.terminal.is_some() || self.verbose
    }

    fn report(&mut self, report: &Report, now_ms: u64) {
        if self.terminal.is_some() {
            self.model.apply(report, now_ms);
        }
        for piece in self.talk.report(report) {
            self.show(piece);
        }
        if matches!(report, Report::RunFinished(_)) {
            self.terminal.iter_mut().for_each(Terminal::clear);
        }
        self.tick(now_ms);
    }

    fn tick(&mut self, now_ms: u64) {
        if let Some(terminal) = &mut self.terminal {
            terminal.draw(&self.model, now_ms);
        }
    }

    fn wake_ms(&self) -> Option<u64> {
        self.terminal.as_ref().and_then(|terminal| terminal.due_ms(&self.model))
    }

    fn hand_over(&mut self, to_action: bool) {
        self.terminal.iter_mut().for_each(|terminal| terminal.hand_over(to_action));
    }

    fn finish(&mut self) -> std::io::Result<()> {
        self.terminal.iter_mut().for_each(Terminal::clear);
        Ok(())
    }
}
