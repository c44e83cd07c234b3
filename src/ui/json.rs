//! The reports of a run as JSON lines on standard output, in the form of `cli.md`: one event, one line, one
//! write.

use super::Sink;
use super::door::{self, Pipe};
use crate::report::Report;

pub(super) struct JsonLines {
    line: Vec<u8>,
}

impl JsonLines {
    pub(super) fn new() -> Self {
        Self { line: Vec::new() }
    }
}

impl Sink for JsonLines {
    fn report(&mut self, report: &Report, _now_ms: u64) {
        self.line.clear();
        serde_json::to_writer(&mut self.line, report)
            .expect("a report has only text keys and a writer that cannot fail");
        self.line.push(b'\n');
        door::write(Pipe::Stdout, &self.line);
    }
}
