//! `kubectl mailtenant`: trees of tenants, why something waits and the command that mends it, DNS records, and safe switches.
//!
//! It has the rights of whoever runs it, knows the API alone (`mailtenant-api`, and of `mailtenant-mail` which records may be pasted),
//! and reads no Secret. What is decided from what was read is pure: `why/`, `tree.rs`, `dns.rs`, `redact.rs`. [`run`] is the whole program, so that tests can be its terminal.

#![forbid(unsafe_code)]

mod act;
mod args;
mod bundle;
mod connect;
mod dns;
mod error;
mod fetch;
mod kept;
mod kind;
mod object;
mod output;
mod picture;
mod redact;
mod sure;
mod tree;
mod why;

pub use output::Terminal;

use act::Switch;
use args::{Arguments, Command, Format};
use clap::{CommandFactory, Parser};
use connect::Cluster;
use error::Result;
use kind::{Kind, Target};
use mailtenant_clock::SystemClock;
use output::Colour;
use std::ffi::OsString;

/// Everything is fine.
pub const FINE: u8 = 0;
/// An error: it is said on standard error.
pub const ERROR: u8 = 1;
/// Something is not ready, or not as it should be.
pub const NOT_READY: u8 = 2;

/// Runs one command line, whose first word is the name of the program. Returns the exit code.
pub async fn run(words: impl IntoIterator<Item = OsString>, terminal: &mut Terminal<'_>) -> u8 {
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(refused) => {
            let help = !refused.use_stderr();
            let text = refused.render();
            let stream = if help { &mut *terminal.out } else { &mut *terminal.err };
            let _ = write!(stream, "{text}");
            return if help { FINE } else { ERROR };
        }
    };
    match command(arguments, terminal).await {
        Ok(true) => FINE,
        Ok(false) => NOT_READY,
        Err(error) => {
            let _ = writeln!(terminal.err, "error: {error}");
            ERROR
        }
    }
}

/// `false`: something is not as it should be.
async fn command(arguments: Arguments, terminal: &mut Terminal<'_>) -> Result<bool> {
    if let Command::Completion { shell } = arguments.command {
        let mut script = vec![];
        clap_complete::generate(shell, &mut Arguments::command(), "kubectl-mailtenant", &mut script);
        terminal.out.write_all(&script)?;
        return Ok(true);
    }
    let cluster = connect::connect(&arguments.cluster).await?;
    let scope = |scope: args::Scope| (!scope.all_namespaces).then(|| cluster.namespace.clone());
    let clock = &SystemClock;
    let switch = async |terminal: &mut Terminal<'_>, switch, targets: Vec<Target>, wait| {
        act::set(&cluster, terminal, (switch, &targets), wait, clock).await
    };
    match arguments.command {
        Command::Tree { instance, scope: all, output } => {
            let picture = fetch::picture(&cluster, scope(all).as_deref()).await;
            read_something(&picture)?;
            if output == Format::Table {
                terminal.gaps(&picture.gaps)?;
            }
            tree::print(terminal, &picture, instance.as_deref(), output)
        }
        Command::Why { object, output } => why_command(&cluster, terminal, &object, output).await,
        Command::Dns { domain, output } => dns_command(&cluster, terminal, &domain, output).await,
        Command::Reconcile { objects, wait } => switch(terminal, Switch::Reconcile, objects, Some(wait)).await,
        Command::Pause { objects } => switch(terminal, Switch::Pause, objects, None).await,
        Command::Resume { objects } => switch(terminal, Switch::Resume, objects, None).await,
        Command::Approve { domains } => switch(terminal, Switch::Approve, domains, None).await,
        Command::RotatePassword { mailboxes, wait } => {
            switch(terminal, Switch::RotatePassword, mailboxes, Some(wait)).await
        }
        Command::RotateDkim { domains, wait } => switch(terminal, Switch::RotateDkim, domains, Some(wait)).await,
        Command::Orphan { object, sure } => sure::orphan(&cluster, terminal, &object, sure).await.map(|()| true),
        Command::AcceptMassLoss { instance, sure } => {
            sure::accept_mass_loss(&cluster, terminal, (&instance, sure), clock).await.map(|()| true)
        }
        Command::Retained { scope: all, output } => {
            kept::retained(&cluster, terminal, scope(all).as_deref(), output).await.map(|()| true)
        }
        Command::Undeclared { scope: all, output } => {
            let picture = fetch::picture(&cluster, scope(all).as_deref()).await;
            if let Some(gap) = picture.gaps.iter().find(|gap| gap.resource == Kind::MailDomain.resource().plural) {
                return Err(error::Error::Call(gap.clone()));
            }
            kept::undeclared(terminal, &picture, output)
        }
        Command::SupportBundle { scope: all, file } => {
            bundle::write(&cluster, terminal, (scope(all).as_deref(), &file), clock).await.map(|()| true)
        }
        Command::Completion { .. } => Ok(true),
    }
}

/// A picture of nothing is an error, not an empty cluster.
fn read_something(picture: &picture::Picture) -> Result<()> {
    match picture.gaps.iter().find(|_| Kind::TENANT.iter().all(|kind| picture.unread.contains(kind))) {
        Some(gap) => Err(error::Error::Call(gap.clone())),
        None => Ok(()),
    }
}

async fn why_command(cluster: &Cluster, terminal: &mut Terminal<'_>, target: &Target, format: Format) -> Result<bool> {
    let namespaced = target.kind.is_none_or(Kind::is_namespaced);
    // Instances of all namespaces may hold up a backend.
    let mut picture = fetch::picture(cluster, namespaced.then_some(cluster.namespace.as_str())).await;
    read_something(&picture)?;
    fetch::surroundings(cluster, &mut picture).await;
    let object = picture.find(target, &cluster.namespace)?;
    let why = why::why(&picture, object, &cluster.shell);
    if !terminal.structured(format, &why)? {
        print_why(terminal, &why)?;
        terminal.gaps(&picture.gaps)?;
    }
    Ok(why.ready)
}

fn print_why(terminal: &mut Terminal<'_>, why: &why::Why) -> Result<()> {
    for (depth, link) in why.chain.iter().enumerate() {
        let (indent, waits) = ("  ".repeat(depth), if depth > 0 { "waits for " } else { "" });
        let last = depth + 1 == why.chain.len();
        let colour = match (why.ready, last) {
            (true, _) => Colour::Good,
            (false, true) => Colour::Bad,
            (false, false) => Colour::Waiting,
        };
        let deleting = if link.deleting { ", being deleted" } else { "" };
        let reason = terminal.paint(&link.reason, colour);
        writeln!(terminal.out, "{indent}{waits}{}/{}: {reason}{deleting}", link.kind.as_str(), link.name)?;
    }
    if let Some(blocks) = why.blocks().filter(|link| !link.message.is_empty()) {
        writeln!(terminal.out, "\n{}", blocks.message)?;
    }
    for note in &why.notes {
        writeln!(terminal.out, "note: {note}")?;
    }
    let Some(step) = &why.step else { return Ok(()) };
    let who = match step.who {
        why::Who::Tenant => "What to do: ",
        why::Who::Platform => "What to do (the platform team): ",
        why::Who::Nobody => "",
    };
    writeln!(terminal.out, "\n{who}{}", step.text)?;
    let head = if step.commands.len() > 1 { "One of:" } else { "" };
    if !head.is_empty() {
        writeln!(terminal.out, "{head}")?;
    }
    for command in &step.commands {
        writeln!(terminal.out, "\n{command}")?;
    }
    if !step.replace.is_empty() {
        writeln!(terminal.out, "\nReplace {} by what you mean.", step.replace.join(", "))?;
    }
    if let Some(command) = &step.last_resort {
        writeln!(terminal.out, "\nIf that will never be mended (it cannot be taken back):\n\n{command}")?;
    }
    for command in &step.look {
        writeln!(terminal.out, "\nTo see more: {command}")?;
    }
    Ok(())
}

async fn dns_command(
    cluster: &Cluster,
    terminal: &mut Terminal<'_>,
    name: &str,
    format: args::DnsFormat,
) -> Result<bool> {
    let resource = Kind::MailDomain.resource();
    let found = fetch::list(cluster, &resource, Some(&cluster.namespace)).await;
    let found = found.map_err(|e| error::Error::call("list", &resource.plural, &cluster.namespace, &e))?;
    let objects: Vec<_> = found.into_iter().map(|value| object::Object { kind: Kind::MailDomain, value }).collect();
    let by_name = objects.iter().find(|o| o.name() == name);
    let Some(domain) = by_name.or_else(|| objects.iter().find(|o| o.text("/spec/domain") == name)) else {
        let text =
            format!("there is no MailDomain {name}, and none for that domain, in namespace {}", cluster.namespace);
        return Err(text.into());
    };
    dns::print(terminal, domain, format)
}
