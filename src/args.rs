//! The command line. `docs/operations.md` documents names and defaults.

use clap::{ArgAction, Args, Parser, Subcommand};
use mailtenant_runtime::telemetry::LogFormat;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A Kubernetes operator for mail tenants.
#[derive(Debug, Parser)]
#[command(name = "mailtenant", version, about)]
pub struct Arguments {
    /// The subcommand to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands of the binary.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator against the cluster of KUBECONFIG, or the one it runs in.
    Run(RunArguments),
    /// Serve MTA-STS policies and the settings of mail clients for the claimed domains, behind an ingress that ends HTTPS.
    Wellknown(WellknownArguments),
    /// Print the CustomResourceDefinitions as YAML, in the order in which they are applied.
    Crds {
        /// Write one file for each CRD into this folder instead; it is created if it is missing.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Arguments of `run`. Each can be given as an environment variable too; the argument goes first.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RunArguments {
    /// Namespace of the Lease and of the Secrets that backends name.
    #[arg(long, value_name = "NAMESPACE", env = "OPERATOR_NAMESPACE", default_value = "mailtenant-system")]
    pub operator_namespace: String,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS:PORT", env = "HTTP_ADDRESS", default_value = "[::]:8080")]
    pub http_address: SocketAddr,
    /// Work only while holding the Lease `mailtenant`, so that several replicas may run. `=false` for a single replica.
    #[arg(
        long,
        env = "LEADER_ELECT",
        value_name = "BOOL",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set
    )]
    pub leader_elect: bool,
    /// Text for people, or one JSON object per line.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// A level (error, warn, info, debug, trace) or directives such as info,kube=debug. A bare debug or trace is for
    /// the operator's own messages, not for those of libraries.
    #[arg(long, env = "LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// DNS servers (host:port) that are asked what the world sees of a domain, where no DNSBackend says whom to ask: for
    /// dns.mode: Manual, and DNSBackends without resolvers and dnsAddress. Left out: the authoritative servers of each name,
    /// found from the root servers of the Internet.
    #[arg(long, env = "RESOLVERS", value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub resolvers: Vec<String>,
}

/// Arguments of `wellknown`. Each can be given as an environment variable too; the argument goes first.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct WellknownArguments {
    /// Where documents are served, by HTTP: for the ingress.
    #[arg(long, value_name = "ADDRESS:PORT", env = "LISTEN_ADDRESS", default_value = "[::]:8081")]
    pub listen_address: SocketAddr,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, value_name = "ADDRESS:PORT", env = "HTTP_ADDRESS", default_value = "[::]:8080")]
    pub http_address: SocketAddr,
    /// Text for people, or one JSON object per line.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// A level (error, warn, info, debug, trace) or directives such as info,kube=debug.
    #[arg(long, env = "LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run(arguments: &[&str]) -> Result<RunArguments, clap::Error> {
        match Arguments::try_parse_from(["mailtenant", "run"].iter().chain(arguments))?.command {
            Command::Run(run) => Ok(run),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn defaults_are_as_documented() {
        let expected = RunArguments {
            operator_namespace: "mailtenant-system".into(),
            http_address: "[::]:8080".parse().unwrap(),
            leader_elect: true,
            log_format: LogFormat::Text,
            log_level: "info".into(),
            resolvers: vec![],
        };
        assert_eq!(run(&[]).unwrap(), expected);
    }

    #[test]
    fn leader_election_can_be_switched_on_and_off() {
        assert!(run(&["--leader-elect"]).unwrap().leader_elect);
        assert!(run(&["--leader-elect=true"]).unwrap().leader_elect);
        assert!(!run(&["--leader-elect=false"]).unwrap().leader_elect);
        assert!(run(&["--leader-elect=no"]).is_err());
        assert!(run(&["--leader-elect", "false"]).is_err(), "would silently mean true, then a stray word");
    }

    #[test]
    fn the_service_of_documents_has_two_ports() {
        let parsed = Arguments::try_parse_from(["mailtenant", "wellknown", "--http-address=127.0.0.1:1"]).unwrap();
        let Command::Wellknown(parsed) = parsed.command else { panic!("{parsed:?}") };
        assert_eq!((parsed.listen_address.port(), parsed.http_address.port()), (8081, 1));
    }

    #[test]
    fn bad_values_are_refused() {
        assert!(run(&["--http-address=8080"]).is_err());
        assert!(run(&["--log-format=xml"]).is_err());
        assert!(Arguments::try_parse_from(["mailtenant"]).is_err());
        let all =
            ["--http-address=127.0.0.1:18440", "--log-format=json", "--log-level=debug", "--operator-namespace=x"];
        let all = run(&all).unwrap();
        assert_eq!(
            (all.http_address.port(), all.log_format, all.log_level.as_str()),
            (18440, LogFormat::Json, "debug")
        );
        assert_eq!(all.operator_namespace, "x");
        let resolvers = run(&["--resolvers=192.0.2.1:53,ns1.example.net:5353"]).unwrap().resolvers;
        assert_eq!(resolvers, ["192.0.2.1:53", "ns1.example.net:5353"]);
    }
}
