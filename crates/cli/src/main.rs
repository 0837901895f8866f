//! The `percept` program: reads the command line, calls the library, prints what it says.

mod commands;
mod printer;

use std::{process::ExitCode, time::Instant};

use clap::Parser;

use commands::Command;

#[global_allocator]
static ALLOCATOR: percept::LargePages = percept::LargePages;

/// Learns to recognise images from labelled pictures, and puts what it learned to work.
#[derive(Parser)]
#[command(name = "percept", version, max_term_width = 110, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    // Times count from the start of the process.
    let started = Instant::now();
    let arguments = Arguments::parse();
    // A PERCEPT_ISA that this machine cannot follow is refused here, before the kernels would meet it.
    let run = || {
        percept::Isa::from_environment().map_err(anyhow::Error::msg)?;
        arguments.command.run(started)
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if printer::reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => {
            printer::error(&error);
            ExitCode::FAILURE
        }
    }
}
