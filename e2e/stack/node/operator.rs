//! The operator's binary as a target of the tests: see `static-operator` in Cargo.toml.

fn main() -> std::process::ExitCode {
    mailtenant::command::main()
}
