//! Passwords that clients send: verified once, then known by a proof that only this process can make.
//!
//! A verification takes memory and time on purpose, so at most two run at once, and an address that has sent ten wrong passwords
//! in a minute is refused without one. A verification that has begun ends and counts, whether its client waits for it or not.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::{constant_time, hmac, rand};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::attempts::Attempts;
use super::password::{self, Hash};
use super::principal::Principal;
use super::principals::Principals;
use crate::failure::Failure;

/// Verifications at once.
const AT_ONCE: usize = 2;
/// How long a password waits for its verification to begin.
const PATIENCE: Duration = Duration::from_secs(5);

/// The system gives no random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gives no random bytes; see that /dev/urandom or getrandom(2) is there")]
pub(crate) struct NoRandom;

/// What is needed to verify passwords.
pub(super) struct Logins {
    key: hmac::Key,
    places: Arc<Semaphore>,
    attempts: Arc<Mutex<Attempts>>,
    /// Verified in place of the password of a principal that does not exist, so that both take the same time.
    nobody: Arc<Hash>,
}

impl Logins {
    /// A fresh memory. Takes as long as one verification.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(super) fn new() -> Result<Self, NoRandom> {
        let mut key = [0; 32];
        rand::fill(&mut key).map_err(|_unspecified| NoRandom)?;
        let nobody = password::hash(&key).map_err(|_unspecified| NoRandom)?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            attempts: Arc::default(),
            nobody: Arc::new(Hash::parse(&nobody).expect("it was just made")),
        })
    }

    /// The principal of this name, if this is its password and it was verified before. Costs microseconds.
    pub(super) fn remembered(
        &self,
        principals: &Principals,
        user: &str,
        password: &[u8],
    ) -> Option<Arc<Principal>> {
        let principal = principals.named(user)?;
        let known = principal.verified.get()?;
        let same = constant_time::verify_slices_are_equal(known, &self.proof(user, password));
        same.is_ok().then(|| Arc::clone(principal))
    }

    /// The principal of this name, if this is its password.
    ///
    /// # Errors
    /// It is not, this address has sent too many wrong ones, or too many wait for their verification.
    pub(super) async fn verify(
        &self,
        principals: &Principals,
        user: &str,
        password: Vec<u8>,
        address: Option<IpAddr>,
    ) -> Result<Arc<Principal>, Failure> {
        self.check(address)?;
        let place = tokio::time::timeout(PATIENCE, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.ok().and_then(Result::ok).ok_or(Failure::LoginBusy)?;
        // Another request may have brought the same password meanwhile, or used up the address's attempts.
        if let Some(principal) = self.remembered(principals, user, &password) {
            return Ok(principal);
        }
        self.check(address)?;
        let principal = principals.named(user);
        let hash = principal.and_then(|principal| principal.password.as_ref());
        let verification = Verification {
            proof: self.proof(user, &password),
            password,
            hash: Arc::clone(hash.unwrap_or(&self.nobody)),
            principal: principal.filter(|_| hash.is_some()).cloned(),
            address,
            attempts: Arc::clone(&self.attempts),
            _place: place,
        };
        let verified = tokio::task::spawn_blocking(move || verification.run()).await;
        verified.ok().flatten().ok_or(Failure::BadCredentials)
    }

    fn check(&self, address: Option<IpAddr>) -> Result<(), Failure> {
        match lock(&self.attempts).wait(address, Instant::now()) {
            None => Ok(()),
            Some(wait) => {
                let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
                Err(Failure::TooManyAttempts(seconds.saturating_add(1)))
            }
        }
    }

    fn proof(&self, user: &str, password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        // A name has no colon.
        context.update(user.as_bytes());
        context.update(b":");
        context.update(password);
        let tag = context.sign();
        tag.as_ref().try_into().expect("an HMAC-SHA256 has 32 bytes")
    }
}

/// A verification that runs to its end.
struct Verification {
    /// `None` when there is none of this name, or it has no password.
    principal: Option<Arc<Principal>>,
    hash: Arc<Hash>,
    password: Vec<u8>,
    proof: [u8; 32],
    address: Option<IpAddr>,
    attempts: Arc<Mutex<Attempts>>,
    _place: OwnedSemaphorePermit,
}

impl Verification {
    fn run(self) -> Option<Arc<Principal>> {
        let is_right = self.hash.is_of(&self.password);
        let Some(principal) = self.principal.filter(|_| is_right) else {
            lock(&self.attempts).failed(self.address, Instant::now());
            return None;
        };
        // Set already means the same: a principal has one password.
        principal.verified.get_or_init(|| self.proof);
        Some(principal)
    }
}

fn lock(attempts: &Mutex<Attempts>) -> MutexGuard<'_, Attempts> {
    attempts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::password::tests::cheap;
    use super::super::principals::tests::read;
    use super::*;

    fn scene() -> (Logins, Principals) {
        let text = format!(
            "principals:\n  shop: {{password: '{}', topics: ['*']}}\n  bank: {{password: '{}', topics: ['*']}}\n",
            cheap("pass"),
            cheap("word")
        );
        (Logins::new().unwrap(), read(&text).unwrap())
    }

    fn address(host: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, host]))
    }

    #[tokio::test]
    async fn a_password_is_verified_once_and_remembered_until_the_file_changes() {
        let (logins, principals) = scene();
        assert!(logins.remembered(&principals, "shop", b"pass").is_none());
        let shop = logins
            .verify(&principals, "shop", b"pass".to_vec(), None)
            .await
            .unwrap();
        assert_eq!(shop.name(), "shop");
        assert_eq!(
            logins.remembered(&principals, "shop", b"pass").unwrap().name(),
            "shop"
        );
        for (user, password) in [
            ("shop", "word"),
            ("shop", ""),
            ("bank", "pass"),
            ("bank", "word"),
            ("", "pass"),
        ] {
            assert!(
                logins
                    .remembered(&principals, user, password.as_bytes())
                    .is_none()
            );
        }
        let (_, reloaded) = scene();
        assert!(logins.remembered(&reloaded, "shop", b"pass").is_none());
    }

    #[tokio::test]
    async fn wrong_ones_are_refused_and_soon_not_even_looked_at() {
        let (logins, principals) = scene();
        let wrong = async |user: &str, host| {
            logins
                .verify(&principals, user, b"wrong".to_vec(), address(host))
                .await
                .err()
        };
        for user in [
            "shop", "nobody", "shop", "", "shop", "bank", "nobody", "shop", "shop", "bank",
        ] {
            assert_eq!(wrong(user, 1).await, Some(Failure::BadCredentials), "{user}");
        }
        assert!(matches!(
            wrong("shop", 1).await,
            Some(Failure::TooManyAttempts(1..=7))
        ));
        let right = logins
            .verify(&principals, "shop", b"pass".to_vec(), address(1))
            .await;
        assert!(right.is_err(), "the address waits, whatever it sends");
        assert_eq!(wrong("shop", 2).await, Some(Failure::BadCredentials));
        assert!(
            logins
                .verify(&principals, "shop", b"pass".to_vec(), address(2))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn attempts_that_come_together_are_counted_too() {
        let (logins, principals) = scene();
        let all = (0..100).map(|_| logins.verify(&principals, "shop", b"wrong".to_vec(), address(1)));
        let refused = futures_util::future::join_all(all).await;
        let looked_at = refused
            .iter()
            .filter(|refused| matches!(refused, Err(Failure::BadCredentials)));
        // One more may have begun beside the tenth.
        assert!((10..=11).contains(&looked_at.count()));
    }

    #[tokio::test]
    async fn at_most_two_verifications_run_and_one_counts_although_its_client_is_gone() {
        let (logins, principals) = scene();
        let held = Arc::clone(&logins.places).acquire_many_owned(2).await.unwrap();
        let waiting = logins.verify(&principals, "shop", b"pass".to_vec(), None);
        let early = tokio::time::timeout(Duration::from_millis(50), waiting).await;
        assert!(early.is_err(), "it began although two run");
        drop(held);
        {
            let wrong = logins.verify(&principals, "shop", b"wrong".to_vec(), address(1));
            let mut wrong = std::pin::pin!(wrong);
            // Begun, then left alone.
            assert!(futures_util::poll!(wrong.as_mut()).is_pending());
        }
        // Both places come back when the verification has ended.
        let _all = logins.places.acquire_many(2).await.unwrap();
        assert_eq!(lock(&logins.attempts).0.len(), 1);
    }
}
