//! What a broker is started with.

use std::fmt::Write as _;
use std::path::Path;

use super::certificates::Certificates;

/// What a broker is asked for. `Default` listens in the clear, on loopback.
#[derive(Clone, Debug, Default)]
pub struct BrokerSettings {
    /// Whether it listens with TLS and with SASL over TLS as well.
    pub is_secure: bool,
    /// Users for SASL/SCRAM: names and passwords.
    pub users: Vec<(String, String)>,
    /// Whether users need rights; who comes in the clear has all of them.
    pub has_authorizer: bool,
    /// Whether it is to be fast once it runs rather than quick to start: for benches.
    pub is_for_speed: bool,
    /// Further properties, which win over ours.
    pub properties: Vec<(String, String)>,
}

impl BrokerSettings {
    /// The same with one more property of the broker.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with TLS, and with this user for SASL/SCRAM.
    #[must_use]
    pub fn secured_for(mut self, user: &str, password: &str) -> Self {
        self.is_secure = true;
        self.users.push((user.to_owned(), password.to_owned()));
        self
    }
}

/// Where a node of a cluster listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) controller: u16,
    pub(super) tls: u16,
    pub(super) sasl: u16,
}

/// A number of a node from 1, and all nodes of its cluster.
pub(super) struct Place<'a> {
    pub(super) node: usize,
    pub(super) nodes: &'a [Ports],
}

/// Properties of every broker: quick about what tests wait for, small in what they do not need.
const QUICK: &str = "\
auto.create.topics.enable=false
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
group.initial.rebalance.delay.ms=0
log.cleaner.backoff.ms=500
log.cleaner.dedupe.buffer.size=8388608
log.initial.task.delay.ms=500
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=500
num.io.threads=4
num.network.threads=2
offsets.topic.num.partitions=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
transaction.remove.expired.transaction.cleanup.interval.ms=3600000
transaction.state.log.num.partitions=2
";

/// The text of `server.properties`.
pub(super) fn server_properties(
    settings: &BrokerSettings,
    place: &Place<'_>,
    directory: &Path,
    certificates: Option<&Certificates>,
) -> String {
    let Place { node, nodes } = *place;
    let ports = nodes[node - 1];
    let voters: Vec<String> = nodes
        .iter()
        .enumerate()
        .map(|(index, ports)| format!("{}@127.0.0.1:{}", index + 1, ports.controller))
        .collect();
    let (replicas, in_sync) = if nodes.len() > 1 { (nodes.len(), 2) } else { (1, 1) };
    // A broker that was killed is not let in again before its former session is over. Where there are several, one that is slow for a
    // moment must not lose what it leads.
    let (heartbeat_ms, session_ms) = if nodes.len() > 1 { (500, 3_000) } else { (100, 1_000) };
    let mut listeners = format!("PLAINTEXT://127.0.0.1:{}", ports.plain);
    if settings.is_secure {
        write!(listeners, ",SSL://127.0.0.1:{},SASL_SSL://127.0.0.1:{}", ports.tls, ports.sasl).unwrap();
    }
    let mut text = format!(
        "process.roles=broker,controller\nnode.id={node}\n\
         controller.quorum.voters={}\ncontroller.listener.names=CONTROLLER\n\
         listeners={listeners},CONTROLLER://127.0.0.1:{}\nadvertised.listeners={listeners}\n\
         inter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL\n\
         log.dirs={}\n\
         default.replication.factor={replicas}\noffsets.topic.replication.factor={replicas}\n\
         transaction.state.log.replication.factor={replicas}\ntransaction.state.log.min.isr={in_sync}\n\
         min.insync.replicas={in_sync}\n\
         broker.heartbeat.interval.ms={heartbeat_ms}\nbroker.session.timeout.ms={session_ms}\n{QUICK}",
        voters.join(","),
        ports.controller,
        directory.join("data").display(),
    );
    if let Some(certificates) = certificates {
        write!(text, "ssl.keystore.type=PEM\nssl.keystore.location={}\n", certificates.broker.display()).unwrap();
        text += "sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512\n";
        for mechanism in ["scram-sha-256", "scram-sha-512"] {
            writeln!(
                text,
                "listener.name.sasl_ssl.{mechanism}.sasl.jaas.config=\
                 org.apache.kafka.common.security.scram.ScramLoginModule required;"
            )
            .unwrap();
        }
    }
    if settings.has_authorizer {
        text += "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
                 super.users=User:ANONYMOUS\n";
    }
    for (name, value) in &settings.properties {
        writeln!(text, "{name}={value}").unwrap();
    }
    text
}
