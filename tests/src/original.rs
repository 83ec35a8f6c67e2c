//! A player of the classic consumer protocol, as members of another implementation follow it: registers without saying
//! how it shares, plans by leaders when the group changes, claims what the plan gives it without touching the offset,
//! and commits by reading and writing, owner or not. It consumes nothing: what it holds stays where it is.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::task::JoinHandle;
use zookeeper_client::{Acls, Client, CreateMode, Error};

use crate::Cluster;

/// How often a claim is tried, once a second.
const CLAIM_TRIES: usize = 62;

/// One member. Dropping it ends its session, as a crash does.
#[derive(Debug)]
pub struct Original {
    client: Client,
    group: Group,
    held: Arc<Mutex<BTreeSet<i32>>>,
    task: JoinHandle<Result<()>>,
}

#[derive(Clone, Debug)]
struct Group {
    id: String,
    module: String,
    topic: String,
}

impl Original {
    /// Joins the group of a module on its topic, under this id.
    ///
    /// # Errors
    /// ZooKeeper is away, or the group was never there.
    pub async fn join(cluster: &Cluster, id: &str, module: &str, topic: &str) -> Result<Self> {
        let address = format!("{}{}", cluster.zookeeper, cluster.chroot);
        let client = Client::connect(&address).await.context("connect")?;
        let group = Group {
            id: id.to_owned(),
            module: module.to_owned(),
            topic: topic.to_owned(),
        };
        let data = format!(
            r#"{{"pattern":"static","subscription":{{"{topic}":1}},"timestamp":1450000000,"version":1}}"#
        );
        let path = format!("{}/{id}", group.ids());
        client.create(&path, data.as_bytes(), &ephemeral()).await?;
        let held = Arc::new(Mutex::new(BTreeSet::new()));
        let task = tokio::spawn(consume(client.clone(), group.clone(), Arc::clone(&held)));
        Ok(Self {
            client,
            group,
            held,
            task,
        })
    }

    /// What it owns now.
    ///
    /// # Panics
    /// When it has given up, as the original does after 62 s without a claim that its plan wants.
    #[must_use]
    pub fn held(&self) -> BTreeSet<i32> {
        assert!(!self.task.is_finished(), "the classic member has given up");
        self.held.lock().expect("no panic inside").clone()
    }

    /// Commits as it does: reads, and writes at the version that it read, whoever owns the partition.
    ///
    /// # Errors
    /// ZooKeeper is away.
    pub async fn commit(&self, partition: i32, offset: i64) -> Result<()> {
        let path = format!(
            "/consumers/{}/offsets/{}/{partition}",
            self.group.module, self.group.topic
        );
        loop {
            let (_data, stat) = self.client.get_data(&path).await?;
            let data = offset.to_string();
            match self
                .client
                .set_data(&path, data.as_bytes(), Some(stat.version))
                .await
            {
                Err(Error::BadVersion) => {}
                written => return written.map(drop).context("write the offset"),
            }
        }
    }

    /// Leaves in good order.
    ///
    /// # Errors
    /// ZooKeeper is away.
    pub async fn leave(self) -> Result<()> {
        let held = self.held();
        self.task.abort();
        for partition in held {
            self.client.delete(&self.group.owner(partition), None).await?;
        }
        let id = format!("{}/{}", self.group.ids(), self.group.id);
        self.client.delete(&id, None).await?;
        Ok(())
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Group {
    fn ids(&self) -> String {
        format!("/consumers/{}/ids", self.module)
    }

    fn owner(&self, partition: i32) -> String {
        format!("/consumers/{}/owners/{}/{partition}", self.module, self.topic)
    }

    /// The partitions by leader and number, in pieces of the same size, the first longer by one.
    async fn planned(&self, client: &Client, mut members: Vec<String>) -> Result<Vec<i32>> {
        let base = format!("/brokers/topics/{}/partitions", self.topic);
        let mut order = Vec::new();
        for name in client.list_children(&base).await? {
            let (data, _stat) = client.get_data(&format!("{base}/{name}/state")).await?;
            let state: serde_json::Value = serde_json::from_slice(&data)?;
            order.push((
                state["leader"].as_i64().context("no leader")?,
                name.parse::<i32>()?,
            ));
        }
        order.sort_unstable();
        members.sort();
        let at = members.iter().position(|member| *member == self.id);
        let at = at.context("not a member any more")?;
        let (each, rest) = (order.len() / members.len(), order.len() % members.len());
        let before = at * each + at.min(rest);
        let count = each + usize::from(at < rest);
        let planned = order.into_iter().skip(before).take(count);
        Ok(planned.map(|(_leader, partition)| partition).collect())
    }
}

async fn consume(client: Client, group: Group, held: Arc<Mutex<BTreeSet<i32>>>) -> Result<()> {
    loop {
        let before = std::mem::take(&mut *held.lock().expect("no panic inside"));
        for partition in before {
            client.delete(&group.owner(partition), None).await?;
        }
        let (members, changed) = client.list_and_watch_children(&group.ids()).await?;
        let mut missing = group.planned(&client, members).await?;
        for attempt in 0.. {
            let mut still = Vec::new();
            for partition in missing {
                let path = group.owner(partition);
                match client.create(&path, group.id.as_bytes(), &ephemeral()).await {
                    Ok(_) => {
                        held.lock().expect("no panic inside").insert(partition);
                    }
                    Err(Error::NodeExists) => still.push(partition),
                    Err(error) => return Err(error.into()),
                }
            }
            missing = still;
            if missing.is_empty() {
                break;
            }
            if attempt == CLAIM_TRIES {
                bail!("partitions {missing:?} were never free");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        changed.changed().await;
    }
}

fn ephemeral() -> zookeeper_client::CreateOptions<'static> {
    CreateMode::Ephemeral.with_acls(Acls::anyone_all())
}
