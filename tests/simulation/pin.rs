//! Pins every hidden source of randomness and of wall-clock time to a seed, for one thread.
//!
//! Test binary only: it defines two symbols of the C library (std documents `getrandom` as interposable), which is the
//! only `unsafe` of the project. A thread that was not started by [`with`] gets the real thing.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::sync::Once;

thread_local! {
    static RNG: Cell<Option<u64>> = const { Cell::new(None) };
    static AHASH: Cell<u64> = const { Cell::new(0) };
    /// Virtual time in nanoseconds since 1970.
    static NOW: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Where virtual time starts: 2026-01-01T00:00:00Z, in milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_767_225_600_000;

/// The next number of a splitmix64 sequence.
pub fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(target_arch = "x86_64")]
const SYS: (i64, i64) = (318, 228);
#[cfg(target_arch = "aarch64")]
const SYS: (i64, i64) = (278, 113);

unsafe extern "C" {
    fn syscall(number: i64, ...) -> i64;
}

/// Keys of std's `RandomState`, the getrandom crate, tokio's seed: all end here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, flags: u32) -> isize {
    match RNG.get() {
        None => unsafe { syscall(SYS.0, buffer, length, flags) as isize },
        Some(mut state) => {
            for i in 0..length {
                unsafe { *buffer.add(i) = splitmix(&mut state) as u8 };
            }
            RNG.set(Some(state));
            length as isize
        }
    }
}

/// `struct timespec`.
#[repr(C)]
pub struct Timespec {
    sec: i64,
    nsec: i64,
}

/// `SystemTime::now`, `jiff::Timestamp::now`, std's `Instant::now` end here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: i32, time: *mut Timespec) -> i32 {
    match NOW.get() {
        Some(ns) if clock == 0 || clock == 1 => {
            unsafe { (*time).sec = (ns / 1_000_000_000) as i64 };
            unsafe { (*time).nsec = (ns % 1_000_000_000) as i64 };
            0
        }
        _ => unsafe { syscall(SYS.1, clock, time) as i32 },
    }
}

struct Source;

impl ahash::random_state::RandomSource for Source {
    fn gen_hasher_seed(&self) -> usize {
        let mut state = AHASH.get();
        let seed = splitmix(&mut state);
        AHASH.set(state);
        seed as usize
    }
}

/// Sets the virtual wall clock of this thread.
pub fn set_now_ms(ms: u64) {
    NOW.set(Some((EPOCH_MS + ms) * 1_000_000));
}

/// Runs `f` on a fresh thread (std caches hash keys per thread) with everything pinned to `seed`.
pub fn with<T: Send>(seed: u64, f: impl FnOnce() -> T + Send) -> T {
    static INSTALL: Once = Once::new();
    // Before the first ahash map of the process, or the source is never asked.
    INSTALL.call_once(|| {
        let _ = ahash::random_state::set_random_source(Source);
    });
    let run = move || {
        RNG.set(Some(seed));
        AHASH.set(seed);
        fastrand::seed(seed);
        set_now_ms(0);
        f()
    };
    std::thread::scope(|s| s.spawn(run).join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
}
