//! A place in a line, held by whoever waits there.

use std::fmt;
use std::task::Waker;

use super::lock::Lock;

/// Where one call stands in line. The line and the one who waits share it.
///
/// Being called means "come and look", no more: what there is to have is asked of the limit itself. A call that
/// comes before anybody listens is kept, so that no wake-up is lost (L4).
#[derive(Default)]
pub struct Place(Lock<Bell>);

#[derive(Default)]
struct Bell {
    called: bool,
    granted: bool,
    evicted: bool,
    waker: Option<Waker>,
}

impl Place {
    /// From now on a call rings `waker`. False if there has been one already, which is thereby heard.
    #[must_use]
    pub fn listen(&self, waker: Waker) -> bool {
        let mut bell = self.0.lock();
        if std::mem::take(&mut bell.called) {
            return false;
        }
        bell.waker = Some(waker);
        true
    }

    /// Has it been given what it waited for?
    pub(super) fn is_granted(&self) -> bool {
        self.0.lock().granted
    }

    /// Did it have to make room for something more important?
    pub(super) fn is_evicted(&self) -> bool {
        self.0.lock().evicted
    }

    /// It is out of the line, and called; whom to wake.
    pub(super) fn evict(&self) -> Option<Waker> {
        let mut bell = self.0.lock();
        bell.evicted = true;
        bell.called = true;
        bell.waker.take()
    }

    /// It has what it waits for, and is called; whom to wake.
    pub(super) fn grant(&self) -> Option<Waker> {
        let mut bell = self.0.lock();
        bell.granted = true;
        bell.called = true;
        bell.waker.take()
    }

    /// It is called; whom to wake.
    pub(super) fn call(&self) -> Option<Waker> {
        let mut bell = self.0.lock();
        bell.called = true;
        bell.waker.take()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}
