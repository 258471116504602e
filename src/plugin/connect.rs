//! The cluster, found as kubectl finds it.

use crate::args::ClusterArguments;
use crate::error::{Error, Result};
use crate::why::Shell;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Who writes, in `metadata.managedFields`.
pub const FIELD_MANAGER: &str = "kubectl-mailtenant";

/// A cluster and the namespace that is meant.
pub struct Cluster {
    pub client: Client,
    pub namespace: String,
    pub shell: Shell,
}

/// Connects. Nothing is sent yet.
pub async fn connect(arguments: &ClusterArguments) -> Result<Cluster> {
    let mut config = config(arguments).await?;
    if let Some(user) = &arguments.impersonate {
        config.auth_info.impersonate = Some(user.clone());
    }
    if !arguments.groups.is_empty() {
        config.auth_info.impersonate_groups = Some(arguments.groups.clone());
    }
    let namespace = arguments.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| Error::Config(error.to_string()))?;
    let shell = Shell { flags: flags(arguments), operator_namespace: arguments.operator_namespace.clone() };
    Ok(Cluster { client, namespace, shell })
}

async fn config(arguments: &ClusterArguments) -> Result<Config> {
    let options = KubeConfigOptions { context: arguments.context.clone(), ..Default::default() };
    let bad = |error: &dyn std::fmt::Display| Error::Config(error.to_string());
    if let Some(file) = &arguments.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(file).map_err(|e| bad(&e))?;
        return Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|e| bad(&e));
    }
    match Config::from_kubeconfig(&options).await {
        Ok(config) => Ok(config),
        // In a pod there is none.
        Err(error) => match (arguments.context.is_none(), Config::incluster()) {
            (true, Ok(config)) => Ok(config),
            _ => Err(bad(&error)),
        },
    }
}

/// What commands need to lead to the same cluster.
fn flags(arguments: &ClusterArguments) -> Vec<String> {
    let mut flags = vec![];
    if let Some(file) = &arguments.kubeconfig {
        flags.extend(["--kubeconfig".to_owned(), file.display().to_string()]);
    }
    if let Some(context) = &arguments.context {
        flags.extend(["--context".to_owned(), context.clone()]);
    }
    flags
}
