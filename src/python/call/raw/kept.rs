//! Memory of objects that are gone, kept for the next of their kind.
//!
//! What is kept is a block that the collector does not track and whose type has been given back: to
//! `PyObject_Init` it is as good as new. CPython's own free lists are the same.
//!
//! Under the GIL there is one list for each class. Without it each thread has its own, and a thread that
//! ends leaves its blocks to the others: a destructor cannot give them back, because nobody is attached by
//! then.

use std::ptr::NonNull;

use pyo3::ffi;

/// The most blocks that a list holds: the depth of calls under way at once in one thread, mostly.
pub const MOST: usize = 64;

/// A block that is no object at present.
pub type Block = NonNull<ffi::PyObject>;

#[cfg(not(Py_GIL_DISABLED))]
pub use gil::Kept;
#[cfg(Py_GIL_DISABLED)]
pub use threads::Kept;

#[cfg(not(Py_GIL_DISABLED))]
#[expect(unsafe_code, reason = "a static that the GIL guards")]
mod gil {
    use std::cell::UnsafeCell;

    use pyo3::Python;

    use super::{Block, MOST};

    /// The list of one class.
    #[derive(Debug)]
    pub struct Kept(UnsafeCell<List>);

    #[derive(Debug)]
    struct List {
        length: usize,
        blocks: [Option<Block>; MOST],
    }

    // SAFETY: whoever takes or leaves a block holds the GIL, of which `py` is the proof, and does nothing
    // meanwhile that could let go of it.
    unsafe impl Sync for Kept {}

    impl Kept {
        /// An empty list; the number tells classes apart.
        pub const fn new(_class: usize) -> Self {
            Self(UnsafeCell::new(List { length: 0, blocks: [None; MOST] }))
        }

        /// A block, if one is left.
        #[inline]
        pub fn take(&self, _py: Python<'_>) -> Option<Block> {
            // SAFETY: as for `Sync`: nobody else looks at the list now.
            let list = unsafe { &mut *self.0.get() };
            list.length = list.length.checked_sub(1)?;
            list.blocks.get_mut(list.length)?.take()
        }

        /// Keeps a block; false if there are enough.
        #[inline]
        pub fn keep(&self, _py: Python<'_>, block: Block) -> bool {
            // SAFETY: as for `Sync`: nobody else looks at the list now.
            let list = unsafe { &mut *self.0.get() };
            let Some(place) = list.blocks.get_mut(list.length) else { return false };
            *place = Some(block);
            list.length += 1;
            true
        }
    }
}

#[cfg(Py_GIL_DISABLED)]
mod threads {
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicBool, Ordering};

    use parking_lot::Mutex;
    use pyo3::Python;

    use super::{Block, MOST};

    /// How many classes keep blocks.
    const CLASSES: usize = 8;

    /// The list of one class in every thread.
    #[derive(Debug)]
    pub struct Kept(usize);

    /// A thread's lists.
    struct Lists([Vec<Block>; CLASSES]);

    /// A block on its way from a thread that has ended.
    struct Left(Block);

    #[expect(unsafe_code, reason = "a pointer that nobody else has")]
    // SAFETY: a block belongs to whoever holds its only pointer, in whichever thread.
    unsafe impl Send for Left {}

    static LEFT: Mutex<[Vec<Left>; CLASSES]> = Mutex::new([const { Vec::new() }; CLASSES]);
    static ANY_LEFT: AtomicBool = AtomicBool::new(false);

    thread_local! {
        static MINE: RefCell<Lists> = const { RefCell::new(Lists([const { Vec::new() }; CLASSES])) };
    }

    impl Drop for Lists {
        fn drop(&mut self) {
            let mut left = LEFT.lock();
            for (mine, left) in self.0.iter_mut().zip(left.iter_mut()) {
                left.extend(mine.drain(..).map(Left));
            }
            ANY_LEFT.store(true, Ordering::Release);
        }
    }

    impl Kept {
        /// The lists with this number, which no other class has.
        pub const fn new(class: usize) -> Self {
            assert!(class < CLASSES);
            Self(class)
        }

        /// A block, if one is left.
        pub fn take(&self, _py: Python<'_>) -> Option<Block> {
            let mine = MINE.try_with(|mine| mine.borrow_mut().0[self.0].pop()).ok().flatten();
            mine.or_else(|| {
                if !ANY_LEFT.load(Ordering::Acquire) {
                    return None;
                }
                let mut left = LEFT.lock();
                let found = left[self.0].pop();
                ANY_LEFT.store(left.iter().any(|list| !list.is_empty()), Ordering::Release);
                found.map(|Left(block)| block)
            })
        }

        /// Keeps a block; false if there are enough.
        pub fn keep(&self, _py: Python<'_>, block: Block) -> bool {
            let kept = MINE.try_with(|mine| {
                let list = &mut mine.borrow_mut().0[self.0];
                let room = list.len() < MOST;
                if room {
                    list.push(block);
                }
                room
            });
            kept.unwrap_or(false)
        }
    }
}
