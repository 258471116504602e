//! The command line. `docs/plugin.md` shows each command by example.

use crate::kind::Target;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Looks at mail tenants: what waits for what, why, and the command that mends it.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-mailtenant",
    bin_name = "kubectl mailtenant",
    version,
    about,
    after_help = "Exit codes: 0 fine, 1 an error (bad arguments too), 2 something is not ready, or not as it should be."
)]
pub struct Arguments {
    #[command(flatten)]
    pub cluster: ClusterArguments,
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster, as kubectl has it.
#[derive(Debug, Clone, Default, Args)]
pub struct ClusterArguments {
    /// kubeconfig to use instead of KUBECONFIG and ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// Namespace; left out: that of the context
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// User to impersonate
    #[arg(long = "as", global = true, value_name = "USER")]
    pub impersonate: Option<String>,
    /// Group to impersonate; may be given several times
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Namespace of the operator and of the Secrets of backends
    #[arg(
        long,
        global = true,
        value_name = "NAMESPACE",
        env = "OPERATOR_NAMESPACE",
        default_value = "mailtenant-system"
    )]
    pub operator_namespace: String,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show instances with their domains, mailboxes and aliases: state, reason, what each waits for, usage
    Tree {
        /// Only this MailInstance
        instance: Option<String>,
        #[command(flatten)]
        scope: Scope,
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Say why an object is not ready: the chain to the first one that blocks, and the command that mends it
    Why {
        /// KIND/NAME, or NAME where that is unique in the namespace
        object: Target,
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Show the DNS records of a domain and their states
    Dns {
        /// Name of the MailDomain, or the domain itself
        domain: String,
        #[arg(short, long, value_enum, default_value_t = DnsFormat::Table)]
        output: DnsFormat,
    },
    /// Ask for a full pass now
    Reconcile {
        #[arg(required = true)]
        objects: Vec<Target>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Write nothing any more for an object, of an instance for all that is in it; deletions stop too
    Pause {
        #[arg(required = true)]
        objects: Vec<Target>,
    },
    /// Take `pause` back
    Resume {
        #[arg(required = true)]
        objects: Vec<Target>,
    },
    /// Allow that MX of a domain is switched (`cutover.approved`)
    Approve {
        /// MailDomains
        #[arg(required = true)]
        domains: Vec<Target>,
    },
    /// Have new generated passwords made
    RotatePassword {
        /// Mailboxes
        #[arg(required = true)]
        mailboxes: Vec<Target>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Have new DKIM keys made
    RotateDkim {
        /// MailDomains
        #[arg(required = true)]
        domains: Vec<Target>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Let an object go whose deletion a backend blocks for good; says what will be left, and asks
    Orphan {
        object: Target,
        #[command(flatten)]
        sure: Sure,
    },
    /// Have the mailboxes of an instance made again that are missing at the server; says what that means, and asks
    AcceptMassLoss {
        /// The MailInstance
        instance: Target,
        #[command(flatten)]
        sure: Sure,
    },
    /// List what the server keeps of objects that were deleted or orphaned, as Events tell it
    Retained {
        #[command(flatten)]
        scope: Scope,
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// List what is at the server and belongs to objects that no longer exist, as MailDomains tell it
    Undeclared {
        #[command(flatten)]
        scope: Scope,
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Write a tar.gz with objects, Events and the operator's log; without Secrets
    SupportBundle {
        #[command(flatten)]
        scope: Scope,
        /// File to write
        #[arg(short, long, value_name = "FILE", default_value = "mailtenant-support.tar.gz")]
        file: PathBuf,
    },
    /// Print a completion script
    Completion { shell: clap_complete::Shell },
}

/// Which namespaces.
#[derive(Debug, Clone, Copy, Args)]
pub struct Scope {
    /// All namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

/// Whether an answer is waited for.
#[derive(Debug, Clone, Copy, Args)]
pub struct Wait {
    /// Wait until the operator has done it
    #[arg(long)]
    pub wait: bool,
    /// Seconds to wait
    #[arg(long, default_value_t = 60)]
    pub timeout: u64,
}

/// Whether a person has to say it twice.
#[derive(Debug, Clone, Copy, Args)]
pub struct Sure {
    /// Do not ask: for scripts
    #[arg(long)]
    pub yes: bool,
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Yaml,
}

/// How records are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DnsFormat {
    Table,
    /// Zone file (RFC 1035)
    Zone,
    Json,
    Yaml,
    /// Resources of the Terraform provider hashicorp/dns
    Terraform,
    /// A DNSEndpoint of external-dns
    Dnsendpoint,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_the_command_as_with_kubectl() {
        for line in [["-n", "t", "why", "mbx/alice"], ["why", "mbx/alice", "-n", "t"]] {
            let arguments = Arguments::try_parse_from(["kubectl-mailtenant"].iter().chain(&line)).unwrap();
            assert_eq!(arguments.cluster.namespace.as_deref(), Some("t"));
        }
        for bad in [&["why"][..], &["why", "pod/x"], &["reconcile"], &["tree", "-o", "xml"], &[]] {
            assert!(Arguments::try_parse_from(["kubectl-mailtenant"].iter().chain(bad)).is_err(), "{bad:?}");
        }
    }
}
