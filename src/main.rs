//! The program `iact`.

use std::process::ExitCode;

fn main() -> ExitCode {
    if iact::engine::spawn::supervise_if_asked() {
        return ExitCode::SUCCESS;
    }
    iact::commands::main(std::env::args_os().skip(1))
}
