//! The completion scripts and the manual page.
//!
//! Invariant: a script only asks `iact complete` and shows the answer; what it gets is never expanded or
//! executed. Refused: the scripts of `clap_complete`. Its static ones know no names and offer what is
//! hidden; its dynamic one for bash asks for the piece behind a colon, so that `api:t` finds nothing, and
//! lets the shell expand what it gets.

use super::Shell;
use std::io;

/// The completion script of a shell.
pub fn completions(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("completions.bash"),
        Shell::Zsh => include_str!("completions.zsh"),
        Shell::Fish => include_str!("completions.fish"),
    }
}

/// The manual page: the program, then every verb as a section of its own.
pub fn man() -> Vec<u8> {
    let mut command = super::command();
    command.build();
    let mut page = Vec::new();
    render(&command, &mut page).expect("writing to memory does not fail");
    page
}

fn render(command: &clap::Command, page: &mut Vec<u8>) -> io::Result<()> {
    let whole = clap_mangen::Man::new(command.clone()).manual("iact manual");
    whole.render_title(page)?;
    whole.render_name_section(page)?;
    whole.render_synopsis_section(page)?;
    whole.render_description_section(page)?;
    whole.render_options_section(page)?;
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
    for verb in verbs {
        let below = verb.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
        section(verb, page)?;
        for verb in below {
            section(verb, page)?;
        }
    }
    page.extend_from_slice(b".SH NOTES\n");
    for paragraph in super::AFTER_HELP.split("\n\n") {
        page.extend_from_slice(format!(".PP\n{}\n", paragraph.replace('-', "\\-")).as_bytes());
    }
    Ok(())
}

/// A verb: what it does, how it is written, and the flags that are its own.
fn section(verb: &clap::Command, page: &mut Vec<u8>) -> io::Result<()> {
    let mut own = verb.clone().disable_help_flag(true);
    let globals: Vec<String> =
        own.get_arguments().filter(|arg| arg.is_global_set()).map(|arg| arg.get_id().to_string()).collect();
    for global in globals {
        own = own.mut_arg(global, |arg| arg.hide(true));
    }
    let title = verb.get_bin_name().unwrap_or(verb.get_name()).to_uppercase();
    page.extend_from_slice(format!(".SH \"{title}\"\n").as_bytes());
    let mut inner = Vec::new();
    let man = clap_mangen::Man::new(own);
    man.render_description_section(&mut inner)?;
    man.render_synopsis_section(&mut inner)?;
    man.render_options_section(&mut inner)?;
    let text =
        String::from_utf8_lossy(&inner).replace(".SH DESCRIPTION\n", "").replace(".SH SYNOPSIS\n", ".PP\n");
    page.extend_from_slice(text.replace(".SH ", ".SS ").as_bytes());
    Ok(())
}

#[cfg(test)]
#[path = "scripts_test.rs"]
mod tests;
