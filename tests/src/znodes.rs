//! The cluster's znodes as an operator's tool sees them: read and written below the chroot, without our own code.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use zookeeper_client::{Acls, Client, CreateMode, Error};

use crate::Cluster;

/// A session with the cluster's ZooKeeper, made anew when it has expired; paths are below the chroot.
#[derive(Clone, Debug)]
pub struct Znodes {
    address: String,
    client: Arc<Mutex<Client>>,
}

impl Cluster {
    /// Lets the clients of this `client.id` produce so many bytes a second to each broker, `None`: as many as they like. With
    /// ZooKeeper only, as its own tool does it: the setting, then a word that it has changed.
    ///
    /// # Errors
    /// ZooKeeper is away.
    pub async fn limit_client(&self, client_id: &str, bytes_a_second: Option<u32>) -> Result<()> {
        let znodes = self.znodes().await?;
        let limit = bytes_a_second.map(|bytes| format!("\"producer_byte_rate\":\"{bytes}\""));
        let config = format!("{{\"version\":1,\"config\":{{{}}}}}", limit.unwrap_or_default());
        znodes
            .set(&format!("/config/clients/{client_id}"), &config)
            .await?;
        let word = format!("{{\"version\":2,\"entity_path\":\"clients/{client_id}\"}}");
        let session = znodes.client().await?;
        let sequential = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
        session
            .create("/config/changes/config_change_", word.as_bytes(), &sequential)
            .await?;
        Ok(())
    }

    /// Opens a session with its ZooKeeper.
    ///
    /// # Errors
    /// ZooKeeper is away.
    pub async fn znodes(&self) -> Result<Znodes> {
        let address = format!("{}{}", self.zookeeper, self.chroot);
        let client = connect(&address).await?;
        Ok(Znodes {
            address,
            client: Arc::new(Mutex::new(client)),
        })
    }
}

impl Znodes {
    /// The data of a znode as text; none when it does not exist.
    ///
    /// # Errors
    /// ZooKeeper is away.
    pub async fn get(&self, path: &str) -> Result<Option<String>> {
        let data = absent(self.client().await?.get_data(path).await)?;
        Ok(data.map(|(data, _)| String::from_utf8_lossy(&data).into_owned()))
    }

    /// The names of a znode's children, sorted; none when it does not exist.
    ///
    /// # Errors
    /// ZooKeeper is away.
    pub async fn children(&self, path: &str) -> Result<Option<Vec<String>>> {
        let mut names = absent(self.client().await?.list_children(path).await)?;
        names.iter_mut().for_each(|names| names.sort());
        Ok(names)
    }

    /// Whether a znode belongs to a session.
    ///
    /// # Errors
    /// ZooKeeper is away.
    pub async fn is_ephemeral(&self, path: &str) -> Result<bool> {
        let stat = self.client().await?.check_stat(path).await?;
        Ok(stat.is_some_and(|stat| stat.ephemeral_owner != 0))
    }

    /// When a znode was created, by the server's clock, in whole milliseconds; none when it does not exist.
    ///
    /// # Errors
    /// ZooKeeper is away.
    pub async fn created(&self, path: &str) -> Result<Option<SystemTime>> {
        let stat = self.client().await?.check_stat(path).await?;
        let since = stat.map(|stat| Duration::from_millis(u64::try_from(stat.ctime).unwrap_or_default()));
        Ok(since.map(|since| UNIX_EPOCH + since))
    }

    /// The transaction that created a znode, which no other znode shares; none when it does not exist.
    ///
    /// # Errors
    /// ZooKeeper is away.
    pub async fn creation(&self, path: &str) -> Result<Option<i64>> {
        let stat = self.client().await?.check_stat(path).await?;
        Ok(stat.map(|stat| stat.czxid))
    }

    /// Writes a znode, with its parents if needed, as an operator does: whatever its version.
    ///
    /// # Errors
    /// ZooKeeper is away.
    pub async fn set(&self, path: &str, data: &str) -> Result<()> {
        match self.client().await?.set_data(path, data.as_bytes(), None).await {
            Ok(_) => Ok(()),
            Err(Error::NoNode) => self.create(path, data).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes a znode that has no children; one that does not exist is fine.
    ///
    /// # Errors
    /// ZooKeeper is away, or it has children.
    pub async fn delete(&self, path: &str) -> Result<()> {
        absent(self.client().await?.delete(path, None).await).map(drop)
    }

    /// The stored offset of each partition, for the znodes that exist and hold a number.
    ///
    /// # Errors
    /// ZooKeeper is away.
    pub async fn offsets(&self, module: &str, topic: &str) -> Result<BTreeMap<i32, i64>> {
        self.partitions(&format!("/consumers/{module}/offsets/{topic}"))
            .await
    }

    /// The id that owns each owned partition.
    ///
    /// # Errors
    /// ZooKeeper is away.
    pub async fn owners(&self, module: &str, topic: &str) -> Result<BTreeMap<i32, String>> {
        self.partitions(&format!("/consumers/{module}/owners/{topic}"))
            .await
    }

    async fn client(&self) -> Result<Client> {
        let client = self.client.lock().expect("no panic inside").clone();
        if !client.state().is_terminated() {
            return Ok(client);
        }
        let client = connect(&self.address).await?;
        *self.client.lock().expect("no panic inside") = client.clone();
        Ok(client)
    }

    async fn partitions<T: std::str::FromStr>(&self, dir: &str) -> Result<BTreeMap<i32, T>> {
        let mut found = BTreeMap::new();
        for name in self.children(dir).await?.unwrap_or_default() {
            // It may vanish between the two questions.
            let data = self.get(&format!("{dir}/{name}")).await?;
            let value = data.and_then(|data| data.trim().parse().ok());
            if let (Ok(partition), Some(value)) = (name.parse(), value) {
                found.insert(partition, value);
            }
        }
        Ok(found)
    }

    async fn create(&self, path: &str, data: &str) -> Result<()> {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        if let Some((parent, _)) = path.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
            self.client().await?.mkdir(parent, &options).await?;
        }
        self.client()
            .await?
            .create(path, data.as_bytes(), &options)
            .await?;
        Ok(())
    }
}

async fn connect(address: &str) -> Result<Client> {
    Client::connect(address)
        .await
        .with_context(|| format!("connect to {address}"))
}

fn absent<T>(result: Result<T, Error>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::NoNode) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
