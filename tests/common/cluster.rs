//! A Kubernetes API for tests: etcd, kube-apiserver and, where asked for, kube-controller-manager on loopback.
//!
//! What is used, first found first:
//! 1. the cluster of `KUBECONFIG`, for tests that need no control plane of their own; nothing is started;
//! 2. binaries in `KUBEBUILDER_ASSETS`;
//! 3. binaries in `$MAILTENANT_CACHE/bin`, by default `~/.cache/mailtenant/bin`.
//!
//! The processes are children of a small shell that waits on a pipe which this process holds. However this process
//! ends (done, panic, SIGKILL), the pipe closes, and the shell ends them by pid and removes their folder.
//! Ports are taken from `MAILTENANT_TEST_PORTS` (`first-last`, default 20000-29999: below the ephemeral range).
//!
//! Other test binaries take this file in by `#[path = "../common/cluster.rs"] mod cluster;`.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What is started beside etcd and kube-apiserver.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Controllers of kube-controller-manager, as its flag takes them (`*`, or
    /// `garbage-collector-controller,namespace-controller`); none = it is not started.
    pub controllers: Option<String>,
    /// Further flags of kube-apiserver.
    pub apiserver_flags: Vec<String>,
}

/// A running cluster. Its processes end and its folder goes when it is dropped.
pub struct Cluster {
    /// kubeconfig of a cluster-admin.
    pub kubeconfig: PathBuf,
    /// Folder of logs (`log/`), certificates and data; `None` = a cluster of the user.
    pub dir: Option<PathBuf>,
    keeper: Option<(Child, Option<ChildStdin>)>,
}

static SHARED: OnceCell<Cluster> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);

/// The one cluster of a test binary, with the CRDs in it. Without controllers.
pub async fn shared() -> &'static Cluster {
    SHARED
        .get_or_init(|| async {
            let cluster = match std::env::var_os("KUBECONFIG") {
                Some(path) => Cluster { kubeconfig: path.into(), dir: None, keeper: None },
                None => Cluster::start(Options::default()).await.expect("the control plane starts"),
            };
            install_crds(&cluster.client().await).await.expect("the CRDs are established");
            cluster
        })
        .await
}

impl Cluster {
    /// Starts a cluster. Ready when it returns.
    pub async fn start(options: Options) -> Result<Self, Error> {
        // Between the search for free ports and their use somebody else may take one: then once more with others.
        let mut last = None;
        for _ in 0..3 {
            match Self::start_once(&options).await {
                Ok(cluster) => return Ok(cluster),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| "no attempt".into()))
    }

    async fn start_once(options: &Options) -> Result<Self, Error> {
        let dir = std::env::temp_dir().join(format!("mailtenant-test-{}", unique()));
        for sub in ["pki", "log"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        let [api, etcd, peer, manager] = free_ports()?;
        certificates(&dir.join("pki"))?;
        let kubeconfig = dir.join("kubeconfig");
        fs::write(&kubeconfig, kubeconfig_text(&dir, "admin", api)?)?;
        fs::write(dir.join("manager.kubeconfig"), kubeconfig_text(&dir, "manager", api)?)?;

        let start = |name: &str, flags: Vec<String>| -> Result<String, Error> {
            let words: Vec<String> =
                [binary(name)?.display().to_string()].into_iter().chain(flags).map(quote).collect();
            Ok(format!(
                "{} >log/{name}.log 2>&1 </dev/null & pids=\"$pids $!\"; echo $! >{name}.pid\n",
                words.join(" ")
            ))
        };
        let mut script = String::from("pids=\n");
        script += &start("etcd", etcd_flags(etcd, peer))?;
        script += &start("kube-apiserver", [apiserver_flags(api, etcd), options.apiserver_flags.clone()].concat())?;
        // A Ctrl-C reaches this shell too: it must live on to end the others.
        script += "trap '' INT TERM HUP\n";
        if let Some(controllers) = &options.controllers {
            // Not before the apiserver is ready: the controller manager ends when its RBAC roles are not there yet.
            script += &format!(
                "if read _; then\n{}fi\n",
                start("kube-controller-manager", manager_flags(manager, controllers))?
            );
        }
        script += "read _\nkill -9 $pids\nwait\ncd / && rm -rf \"$1\"\n";
        let mut keeper = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(&dir)
            .current_dir(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("log/keeper.log"))?)
            .spawn()?;
        let pipe = keeper.stdin.take();
        let mut cluster = Cluster { kubeconfig, dir: Some(dir.clone()), keeper: Some((keeper, pipe)) };
        let client = cluster.client().await;
        let ready = async {
            loop {
                let request = http::Request::get("/readyz").body(vec![])?;
                if client.request_text(request).await.is_ok_and(|text| text == "ok") {
                    return Ok::<_, Error>(());
                }
                for name in ["etcd", "kube-apiserver"] {
                    if let Ok(pid) = fs::read_to_string(dir.join(format!("{name}.pid")))
                        && !Path::new("/proc").join(pid.trim()).join("exe").exists()
                    {
                        return Err(format!("{name} ended: {}", tail(&dir, name)).into());
                    }
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(90), ready).await {
            Ok(result) => result?,
            Err(_) => return Err(format!("not ready in 90 s: {}", tail(&dir, "kube-apiserver")).into()),
        }
        if options.controllers.is_some()
            && let Some((_, Some(pipe))) = &mut cluster.keeper
        {
            pipe.write_all(b"ready\n")?;
        }
        Ok(cluster)
    }

    /// A new client. A client lives in the runtime that made it, so each test makes its own.
    pub async fn client(&self) -> Client {
        // The first test to come installs it, for the others it is there already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).expect("the kubeconfig is readable");
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("the kubeconfig is good");
        config.default_retry = false;
        Client::try_from(config).expect("the configuration is good")
    }

    /// Makes a namespace with a name of its own, starting with `prefix`.
    pub async fn namespace(&self, prefix: &str) -> String {
        let name = format!("{prefix}-{}", unique());
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client().await);
        let namespace = k8s_openapi::api::core::v1::Namespace {
            metadata: ObjectMeta { name: Some(name.clone()), ..Default::default() },
            ..Default::default()
        };
        namespaces.create(&PostParams::default(), &namespace).await.expect("the namespace is made");
        name
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some((mut keeper, pipe)) = self.keeper.take() {
            drop(pipe);
            let _ = keeper.wait();
        }
    }
}

/// Applies all CRDs and waits until each is established and its names are taken.
pub async fn install_crds(client: &Client) -> Result<(), Error> {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let crds = mailtenant_api::crds::all();
    let name = |crd: &serde_json::Value| crd["metadata"]["name"].as_str().unwrap_or_default().to_string();
    for crd in &crds {
        api.patch(&name(crd), &PatchParams::apply("mailtenant-tests").force(), &Patch::Apply(crd)).await?;
    }
    for crd in &crds {
        let established = kube::runtime::wait::conditions::is_crd_established();
        let name = name(crd);
        let wait = kube::runtime::wait::await_condition(api.clone(), &name, established);
        tokio::time::timeout(Duration::from_secs(30), wait).await??;
    }
    // Established is said a moment before the kind is served.
    for crd in &crds {
        let path = format!(
            "/apis/mailtenant.dev/v1alpha1/{}?limit=1",
            crd["spec"]["names"]["plural"].as_str().unwrap_or_default()
        );
        let served = async {
            while client.request_text(http::Request::get(&path).body(vec![]).unwrap_or_default()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), served).await?;
    }
    Ok(())
}

/// Where one of the control plane's binaries is.
pub fn binary(name: &str) -> Result<PathBuf, Error> {
    let cache = std::env::var_os("MAILTENANT_CACHE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/mailtenant")));
    let folders = [std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from), cache.map(|c| c.join("bin"))];
    folders.iter().flatten().map(|f| f.join(name)).find(|p| p.is_file()).ok_or_else(|| {
        format!(
            "{name} is neither in KUBEBUILDER_ASSETS nor in $MAILTENANT_CACHE/bin (default ~/.cache/mailtenant/bin)"
        )
        .into()
    })
}

/// A word that no other test of this run, nor a run beside it, has.
pub fn unique() -> String {
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// `N` ports that nobody listens on, from the range of `MAILTENANT_TEST_PORTS`; runs beside each other start at
/// different places in it.
pub fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    let range = std::env::var("MAILTENANT_TEST_PORTS").unwrap_or_else(|_| "20000-29999".into());
    let (first, last) = range.split_once('-').ok_or("MAILTENANT_TEST_PORTS must be first-last")?;
    let (first, last): (u16, u16) = (first.parse()?, last.parse()?);
    let size = u32::from(last.checked_sub(first).ok_or("MAILTENANT_TEST_PORTS must be first-last")?) + 1;
    let start = std::process::id().wrapping_mul(37).wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed) * 8);
    let mut held = vec![];
    for step in 0..size {
        let port = first + (start.wrapping_add(step) % size) as u16;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            held.push((port, listener));
            if held.len() == N {
                break;
            }
        }
    }
    let ports: Vec<u16> = held.iter().map(|(port, _)| *port).collect();
    ports.try_into().map_err(|_| "no free ports in MAILTENANT_TEST_PORTS".into())
}

fn quote(word: String) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn tail(dir: &Path, name: &str) -> String {
    let log = fs::read_to_string(dir.join(format!("log/{name}.log"))).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

fn openssl(dir: &Path, args: &[&str]) -> Result<(), Error> {
    let output = Command::new("openssl").args(args).current_dir(dir).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("openssl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr)).into())
}

/// A CA, the server's certificate, two users and the key of service accounts.
fn certificates(dir: &Path) -> Result<(), Error> {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let req = |args: &[&str]| openssl(dir, &[&["req"], &key[..], args].concat());
    req(&["-x509", "-days", "3650", "-subj", "/CN=test-ca", "-keyout", "ca.key", "-out", "ca.crt"])?;
    let server = "IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc";
    for (name, subject, alt) in [
        ("apiserver", "/CN=kube-apiserver", server),
        ("admin", "/O=system:masters/CN=admin", "DNS:admin"),
        ("manager", "/CN=system:kube-controller-manager", "DNS:manager"),
    ] {
        let (key, csr, crt, ext) =
            (format!("{name}.key"), format!("{name}.csr"), format!("{name}.crt"), format!("{name}.ext"));
        fs::write(dir.join(&ext), format!("subjectAltName={alt}\nextendedKeyUsage=serverAuth,clientAuth\n"))?;
        req(&["-subj", subject, "-keyout", &key, "-out", &csr])?;
        let ca = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "3650"];
        openssl(dir, &[&["x509", "-req", "-in", &csr, "-out", &crt, "-extfile", &ext], &ca[..]].concat())?;
    }
    openssl(dir, &["genrsa", "-out", "sa.key", "2048"])?;
    openssl(dir, &["rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"])
}

fn kubeconfig_text(dir: &Path, user: &str, port: u16) -> Result<String, Error> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let file = |name: String| fs::read(dir.join("pki").join(name)).map(|bytes| STANDARD.encode(bytes));
    let (ca, crt, key) = (file("ca.crt".into())?, file(format!("{user}.crt"))?, file(format!("{user}.key"))?);
    Ok(format!(
        "apiVersion: v1\nkind: Config\n\
         clusters: [{{name: c, cluster: {{server: \"https://127.0.0.1:{port}\", certificate-authority-data: {ca}}}}}]\n\
         users: [{{name: u, user: {{client-certificate-data: {crt}, client-key-data: {key}}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\ncurrent-context: c\n"
    ))
}

fn flags(list: &[(&str, &str)]) -> Vec<String> {
    list.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

/// Nothing is synced to disk: the data ends with the test.
fn etcd_flags(client: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    flags(&[
        ("data-dir", "etcd"),
        ("listen-client-urls", &client),
        ("advertise-client-urls", &client),
        ("listen-peer-urls", &peer),
        ("initial-advertise-peer-urls", &peer),
        ("initial-cluster", &format!("default={peer}")),
        ("unsafe-no-fsync", "true"),
    ])
}

fn apiserver_flags(port: u16, etcd: u16) -> Vec<String> {
    flags(&[
        ("etcd-servers", &format!("http://127.0.0.1:{etcd}")),
        ("bind-address", "127.0.0.1"),
        ("advertise-address", "127.0.0.1"),
        ("secure-port", &port.to_string()),
        ("tls-cert-file", "pki/apiserver.crt"),
        ("tls-private-key-file", "pki/apiserver.key"),
        ("client-ca-file", "pki/ca.crt"),
        ("service-account-issuer", "https://kubernetes.default.svc"),
        ("service-account-key-file", "pki/sa.pub"),
        ("service-account-signing-key-file", "pki/sa.key"),
        ("service-cluster-ip-range", "10.96.0.0/16"),
        ("authorization-mode", "RBAC"),
        ("endpoint-reconciler-type", "none"),
    ])
}

fn manager_flags(port: u16, controllers: &str) -> Vec<String> {
    let kubeconfig = "manager.kubeconfig";
    flags(&[
        ("kubeconfig", kubeconfig),
        ("authentication-kubeconfig", kubeconfig),
        ("authorization-kubeconfig", kubeconfig),
        ("bind-address", "127.0.0.1"),
        ("secure-port", &port.to_string()),
        ("service-account-private-key-file", "pki/sa.key"),
        ("root-ca-file", "pki/ca.crt"),
        ("use-service-account-credentials", "true"),
        ("leader-elect", "false"),
        ("kube-api-qps", "200"),
        ("kube-api-burst", "400"),
        ("controllers", controllers),
    ])
}
