//! The binary `kubectl-mailtenant`: kubectl runs it as `kubectl mailtenant`.

use mailtenant_plugin::Terminal;
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before the first TLS connection. An error: a provider is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kubectl-mailtenant: no async runtime: {error}");
            return ExitCode::from(1);
        }
    };
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = stdout().is_terminal() && !plain;
    let mut terminal = Terminal { out: &mut stdout(), err: &mut stderr(), input: &mut stdin().lock(), colour };
    let code = runtime.block_on(mailtenant_plugin::run(std::env::args_os(), &mut terminal));
    ExitCode::from(code)
}
