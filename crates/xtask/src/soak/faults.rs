//! Does what was planned.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use ktests::audit::{PAUSED, TOLD_TO_STOP};
use ktests::{Behaviour, When};
use tokio::sync::mpsc;

use super::plan::{Fault, Planned, SESSION, Trouble};
use super::scene::{Module, PUSH_TIME, Scene};

/// How long after its end a fault may still be the cause of a take-over: a session, and what the server takes longer.
const AFTERMATH: Duration = SESSION.saturating_mul(2);

/// Does one fault and undoes it, and waits until it can no longer be the cause of a take-over. What there is to say
/// meanwhile goes to `said`.
///
/// # Errors
/// A server does not come back, or an instance does not end in good order.
pub(super) async fn commit(scene: Arc<Scene>, planned: Planned, said: mpsc::Sender<String>) -> Result<()> {
    let Planned { fault, length, .. } = planned;
    match fault {
        Fault::Kill { instance } => {
            let _noted = Noted::new(&scene, instance, "SIGKILL");
            let mut instance = scene.instances[instance].lock().await;
            instance.daemon.kill().await;
            tokio::time::sleep(length).await;
            instance.start_again(&scene.modules);
            drop(instance);
            tokio::time::sleep(AFTERMATH).await;
        }
        Fault::Terminate { instance } => {
            let _noted = Noted::new(&scene, instance, TOLD_TO_STOP);
            said.send(terminate(&scene, instance, length).await?).await?;
            tokio::time::sleep(AFTERMATH).await;
        }
        Fault::Pause { instance } => {
            let _noted = Noted::new(&scene, instance, PAUSED);
            let instance = scene.instances[instance].lock().await;
            instance.daemon.freeze();
            tokio::time::sleep(length).await;
            instance.daemon.thaw();
            drop(instance);
            tokio::time::sleep(AFTERMATH).await;
        }
        Fault::Change { instance, module } => {
            let _noted = Noted::new(&scene, instance, "a changed file");
            scene.instances[instance]
                .lock()
                .await
                .change(&scene.modules, module);
            tokio::time::sleep(AFTERMATH).await;
        }
        Fault::ZooKeeper => said.send(zookeeper(&scene, length).await?).await?,
        Fault::Broker { killed } => said.send(broker(&scene, killed, length).await?).await?,
        Fault::Backend { module, trouble } => {
            let module = &scene.modules[module];
            begin(module, trouble).await;
            tokio::time::sleep(length).await;
            end(module, trouble).await;
        }
    }
    Ok(())
}

/// The judges are told of a cause as long as this lives.
struct Noted<'a> {
    scene: &'a Scene,
    instance: String,
    cause: &'static str,
}

impl<'a> Noted<'a> {
    fn new(scene: &'a Scene, instance: usize, cause: &'static str) -> Self {
        let instance = Scene::name(instance);
        let audits = scene.modules.iter().map(|module| &module.audit);
        audits.into_iter().for_each(|audit| audit.note(&instance, cause));
        Self {
            scene,
            instance,
            cause,
        }
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let audits = self.scene.modules.iter().map(|module| &module.audit);
        audits
            .into_iter()
            .for_each(|audit| audit.forget(&self.instance, self.cause));
    }
}

fn note_all(scene: &Scene, cause: &'static str) {
    let audits = scene.modules.iter().map(|module| &module.audit);
    audits.into_iter().for_each(|audit| audit.note_all(cause));
}

async fn terminate(scene: &Scene, instance: usize, away: Duration) -> Result<String> {
    let mut instance = scene.instances[instance].lock().await;
    let start = tokio::time::Instant::now();
    let status = instance.daemon.terminate().await;
    let said = format!(
        "instance {} ended after SIGTERM with {status} in {:.1} s",
        instance.name,
        start.elapsed().as_secs_f64()
    );
    ensure!(status.success(), said);
    tokio::time::sleep(away).await;
    instance.start_again(&scene.modules);
    Ok(said)
}

async fn zookeeper(scene: &Scene, away: Duration) -> Result<String> {
    note_all(scene, "ZooKeeper away");
    let start = tokio::time::Instant::now();
    let mut servers = scene.servers.lock().await;
    servers.stop_zookeeper().await?;
    tokio::time::sleep(away).await;
    servers.start_zookeeper().await?;
    // A take-over may come until the sessions that did not come back have expired.
    note_all(scene, "ZooKeeper back");
    Ok(format!(
        "ZooKeeper answers again after {:.1} s",
        start.elapsed().as_secs_f64()
    ))
}

async fn broker(scene: &Scene, killed: bool, away: Duration) -> Result<String> {
    let start = tokio::time::Instant::now();
    let mut servers = scene.servers.lock().await;
    if killed {
        servers.kill_broker().await?;
    } else {
        servers.stop_broker().await?;
    }
    tokio::time::sleep(away).await;
    servers.start_broker().await?;
    Ok(format!(
        "the broker answers again after {:.1} s",
        start.elapsed().as_secs_f64()
    ))
}

async fn begin(module: &Module, trouble: Trouble) {
    let behaviour = match trouble {
        Trouble::Down => {
            module.backend.stop_server(0).await;
            return module.backend.stop_server(1).await;
        }
        Trouble::HalfDown => return module.backend.stop_server(0).await,
        Trouble::Slow(time) => Behaviour::status(200).after(time),
        Trouble::Hangs => Behaviour::hang(),
        Trouble::Resets => Behaviour::reset().after(PUSH_TIME),
        Trouble::Closes => Behaviour::close().after(PUSH_TIME),
        Trouble::Refuses => Behaviour::status(500).after(PUSH_TIME),
    };
    module.backend.on(When::always(), behaviour);
}

async fn end(module: &Module, trouble: Trouble) {
    module
        .backend
        .on(When::always(), Behaviour::status(200).after(PUSH_TIME));
    match trouble {
        Trouble::Down => {
            module.backend.start_server(0).await;
            module.backend.start_server(1).await;
        }
        Trouble::HalfDown => module.backend.start_server(0).await,
        // What hangs would hang on: not every module has a time-out.
        Trouble::Hangs => module.backend.cut_connections().await,
        Trouble::Slow(_) | Trouble::Resets | Trouble::Closes | Trouble::Refuses => {}
    }
}
