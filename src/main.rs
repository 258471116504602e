//! The binary. Everything is in the library.

fn main() -> std::process::ExitCode {
    mailtenant::command::main()
}
