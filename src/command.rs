//! What the binary does: arguments, logging, run.

use crate::args::{Arguments, Command};
use crate::{process, wellknown_process};
use clap::Parser;
use mailtenant_runtime::telemetry::LogFormat;
use mailtenant_runtime::{multi_threaded, telemetry};
use std::path::Path;
use std::process::ExitCode;
use tracing::{error, info};

/// The whole of `main`, for `src/main.rs` and for the test target that is linked as the image's binary is.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(arguments) => run((arguments.log_format, &arguments.log_level), process::run(&arguments)),
        Command::Wellknown(arguments) => {
            run((arguments.log_format, &arguments.log_level), wellknown_process::run(&arguments))
        }
        Command::Crds { dir } => crds(dir.as_deref()),
    }
}

/// Runs a process to its end, with this format and level of its log.
fn run((format, level): (LogFormat, &str), process: impl Future<Output = Result<(), process::Error>>) -> ExitCode {
    if let Err(error) = telemetry::init(format, level, env!("CARGO_CRATE_NAME")) {
        eprintln!("mailtenant: {error}");
        return ExitCode::from(2);
    }
    // Before the first TLS connection. An error: a provider is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match multi_threaded() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "no async runtime");
            return ExitCode::FAILURE;
        }
    };
    info!(version = env!("CARGO_PKG_VERSION"), "starting");
    let ended = runtime.block_on(process);
    // Does not wait for tasks that still run, such as connections of an HTTP client.
    runtime.shutdown_background();
    match ended {
        Ok(()) => {
            info!("ended as asked");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!(%error, "ending");
            ExitCode::FAILURE
        }
    }
}

fn crds(dir: Option<&Path>) -> ExitCode {
    let done = match dir {
        Some(dir) => mailtenant_api::crds::write_dir(dir),
        None => process::print_crds(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mailtenant: {error}");
            ExitCode::FAILURE
        }
    }
}
