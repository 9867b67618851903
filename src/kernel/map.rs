//! Entries of a map. I/O: the `bpf` system call.
//!
//! Structures are the parts of `union bpf_attr`, include/uapi/linux/bpf.h.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::thread;
use std::time::Duration;

use super::abi::Pod;
use super::code::MapSpec;
use super::syscall::{bpf, bpf_mut};

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;

/// Elements told, or asked for, by one system call.
const BATCH: usize = 2048;

/// A tick of the kernel's clock takes 10 ms at most.
const PAUSE: Duration = Duration::from_millis(2);
/// Without an element more: then memory is scarce indeed.
const PAUSES: u32 = 15;

#[repr(C)]
struct Element {
    map: RawFd,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: RawFd,
    element_flags: u64,
    flags: u64,
}

/// A map whose keys and values have the sizes of K and V.
#[derive(Debug)]
pub struct Map<'a, K, V> {
    fd: BorrowedFd<'a>,
    types: PhantomData<(K, V)>,
}

impl<'a, K: Pod, V: Pod> Map<'a, K, V> {
    /// `fd` is the map that was made by `spec`. None when the sizes are others.
    pub fn new(spec: &MapSpec, fd: BorrowedFd<'a>) -> Option<Self> {
        let types = PhantomData;
        ((spec.key as usize, spec.value as usize) == (size_of::<K>(), size_of::<V>()))
            .then_some(Self { fd, types })
    }

    fn element(&self, key: &K, value: u64) -> Element {
        Element {
            map: self.fd.as_raw_fd(),
            pad: 0,
            key: (&raw const *key) as u64,
            value,
            flags: 0,
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> io::Result<Option<V>> {
        let mut value = Vec::with_capacity(1);
        match self.read(key, &mut value, 1) {
            Ok(()) => Ok(value.pop()),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The values that the CPUs have for a key of a map that has one for each of `cpus`, which
    /// are all that the kernel may ever see. The size of V is a multiple of eight.
    pub fn each_cpu(&self, key: &K, cpus: usize) -> io::Result<Vec<V>> {
        const { assert!(size_of::<V>().is_multiple_of(8)) };
        let mut values = Vec::with_capacity(cpus);
        self.read(key, &mut values, cpus)?;
        Ok(values)
    }

    /// Fills an empty vector with the values that the kernel has for a key: as many as `count`.
    fn read(&self, key: &K, values: &mut Vec<V>, count: usize) -> io::Result<()> {
        debug_assert!(values.capacity() >= count);
        let attributes = self.element(key, values.as_mut_ptr() as u64);
        // SAFETY: the kernel reads a key and writes `count` values, of the sizes that were
        // compared with those of K and V, into a vector with that much room. It is full then, and
        // any bytes are a V.
        unsafe {
            bpf(BPF_MAP_LOOKUP_ELEM, &attributes)?;
            values.set_len(count);
        }
        Ok(())
    }

    /// Enters a key, or changes its value.
    pub fn set(&self, key: &K, value: &V) -> io::Result<()> {
        let attributes = self.element(key, (&raw const *value) as u64);
        // SAFETY: the kernel reads a key and a value, of the sizes that were compared with those
        // of K and V.
        patiently(|| unsafe { bpf(BPF_MAP_UPDATE_ELEM, &attributes) }).map(drop)
    }

    /// Takes a key out, if it is there.
    pub fn remove(&self, key: &K) -> io::Result<()> {
        let attributes = self.element(key, 0);
        // SAFETY: the kernel reads a key, of the size that was compared with that of K.
        match unsafe { bpf(BPF_MAP_DELETE_ELEM, &attributes) } {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }

    /// Enters many (BPF_MAP_UPDATE_BATCH, kernel 5.6): `keys` and `values` are equally many.
    pub fn set_many(&self, keys: &[K], values: &[V]) -> io::Result<()> {
        for (keys, values) in keys.chunks(BATCH).zip(values.chunks(BATCH)) {
            let (mut done, count) = (0, keys.len().min(values.len()));
            while done < count {
                let (keys, values) = (&keys[done..], &values[done..]);
                done += patiently(|| self.set_some(keys, values))?;
            }
        }
        Ok(())
    }

    /// Enters them until the first that fails; how many that were.
    fn set_some(&self, keys: &[K], values: &[V]) -> io::Result<usize> {
        let asked = keys.len().min(values.len());
        let mut attributes = Batch {
            in_batch: 0,
            out_batch: 0,
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count: asked as u32,
            map: self.fd.as_raw_fd(),
            element_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel reads `count` keys and values, of the sizes that were compared with
        // those of K and V, from slices that outlive the call; it writes `count`.
        let result = unsafe { bpf_mut(BPF_MAP_UPDATE_BATCH, &mut attributes) };
        match (result, attributes.count as usize) {
            (Ok(_), _) => Ok(asked),
            // Not written when it failed before the first.
            (Err(_), some) if (1..asked).contains(&some) => Ok(some),
            (Err(error), _) => Err(error),
        }
    }

    /// Hands all elements of a hash map to `each`, some at a time (BPF_MAP_LOOKUP_BATCH, kernel
    /// 5.6). One that comes or goes meanwhile is there or not; `most` are looked at, and a few
    /// more.
    pub fn elements(
        &self,
        most: usize,
        mut each: impl FnMut(&[K], &[V]) -> io::Result<()>,
    ) -> io::Result<()> {
        // A bucket comes whole or not at all; one of a full map has a few elements.
        let mut keys: Vec<K> = Vec::with_capacity(BATCH);
        let mut values: Vec<V> = Vec::with_capacity(BATCH);
        // Where to go on: a number of a bucket.
        let mut place = 0_u32;
        let mut seen = 0;
        while seen <= most {
            let mut attributes = Batch {
                in_batch: if seen == 0 {
                    0
                } else {
                    (&raw const place) as u64
                },
                out_batch: (&raw mut place) as u64,
                keys: keys.as_mut_ptr() as u64,
                values: values.as_mut_ptr() as u64,
                count: BATCH as u32,
                map: self.fd.as_raw_fd(),
                element_flags: 0,
                flags: 0,
            };
            // SAFETY: the kernel writes at most `count` keys and values, of the sizes that were
            // compared with those of K and V, into vectors with that much room; it reads and
            // writes four bytes of `place`, and `count`.
            let result = unsafe { bpf_mut(BPF_MAP_LOOKUP_BATCH, &mut attributes) };
            let is_last = match result {
                Ok(_) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                Err(error) => return Err(error),
            };
            let count = (attributes.count as usize).min(BATCH);
            // SAFETY: the kernel has written so many of each, and any bytes are a K and a V.
            unsafe {
                keys.set_len(count);
                values.set_len(count);
            }
            each(&keys, &values)?;
            seen += count;
            if is_last || count == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Tries again for a while what the kernel has no memory for.
///
/// It keeps few elements of a map without preallocation in hand (hash maps from 6.1 on, tries
/// later). New ones it gets by an interrupt of its own, which comes with the next tick
/// of the clock where a CPU cannot interrupt itself: on mips.
fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..PAUSES {
        match attempt() {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => thread::sleep(PAUSE),
            done => return done,
        }
    }
    attempt()
}

/// How many CPUs the kernel may ever see, from the words of /sys/devices/system/cpu/possible:
/// `0-3,5`.
pub fn possible_cpus(text: &str) -> Option<usize> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(last.checked_sub(first)? + 1)
    };
    text.trim().split(',').map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_memory_is_tried_again_for_a_while() {
        let scarce = || io::Error::from_raw_os_error(libc::ENOMEM);
        let mut left = 3;
        let done = patiently(|| {
            left -= 1;
            if left > 0 { Err(scarce()) } else { Ok("set") }
        });
        assert_eq!(done.unwrap(), "set");

        let mut tried = 0;
        let gave_up: io::Result<()> = patiently(|| {
            tried += 1;
            Err(scarce())
        });
        assert_eq!(gave_up.unwrap_err().raw_os_error(), Some(libc::ENOMEM));
        assert_eq!(tried, PAUSES + 1);
    }

    #[test]
    fn other_errors_are_told_at_once() {
        let mut tried = 0;
        let refused: io::Result<()> = patiently(|| {
            tried += 1;
            Err(io::Error::from_raw_os_error(libc::E2BIG))
        });
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::E2BIG));
        assert_eq!(tried, 1);
    }

    #[test]
    fn cpus_are_counted() {
        for (text, count) in [
            ("0\n", Some(1)),
            ("0-3\n", Some(4)),
            ("0-1,4,6-7", Some(5)),
            ("", None),
            ("3-0", None),
        ] {
            assert_eq!(possible_cpus(text), count, "{text}");
        }
    }
}
