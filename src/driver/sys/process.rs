//! Limits and places of this process and its threads.

#![allow(unsafe_code)] // rlimits and affinity have no wrapper in std; see the blocks.

use std::io;

/// A limit that the kernel keeps for this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// RLIMIT_NOFILE: descriptors of the process, and separately entries of each ring's file table.
    Descriptors,
    /// RLIMIT_MEMLOCK, in bytes.
    LockedMemory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub soft: u64,
    pub hard: u64,
}

pub fn limit(resource: Resource) -> io::Result<Limit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live, writable rlimit, and the call keeps nothing of it.
    // JUSTIFICATION: std has no rlimits.
    let result = unsafe { libc::getrlimit(resource.number(), &raw mut limit) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Limit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// Raises the soft limit to the hard one, which needs no privilege; returns what holds now.
pub fn raise(resource: Resource) -> io::Result<Limit> {
    let Limit { soft, hard } = limit(resource)?;
    if soft == hard {
        return Ok(Limit { soft, hard });
    }
    let raised = libc::rlimit { rlim_cur: hard, rlim_max: hard };
    // SAFETY: the pointer is to a live rlimit, and the call keeps nothing of it.
    // JUSTIFICATION: std has no rlimits.
    let result = unsafe { libc::setrlimit(resource.number(), &raw const raised) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    limit(resource)
}

impl Resource {
    const fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Self::Descriptors => libc::RLIMIT_NOFILE,
            Self::LockedMemory => libc::RLIMIT_MEMLOCK,
        }
    }
}

/// The CPUs that this thread may run on, in rising order.
pub fn affinity() -> io::Result<Vec<usize>> {
    let mut words = [0_u64; AFFINITY_WORDS];
    // SAFETY: the buffer is live and writable for the length given, and the call keeps nothing of it. A cpu_set_t is
    // an array of words like this one; the kernel takes any length that holds all its CPUs.
    // JUSTIFICATION: std only counts CPUs and does not name them.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&words), words.as_mut_ptr().cast()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let is_set = |cpu: &usize| words[cpu / 64] & (1 << (cpu % 64)) != 0;
    Ok((0..AFFINITY_WORDS * 64).filter(is_set).collect())
}

/// Binds this thread to these CPUs.
pub fn bind(cpus: &[usize]) -> io::Result<()> {
    let mut words = [0_u64; AFFINITY_WORDS];
    for &cpu in cpus {
        let word = words.get_mut(cpu / 64).ok_or(io::ErrorKind::InvalidInput)?;
        *word |= 1 << (cpu % 64);
    }
    // SAFETY: as for `affinity`; the kernel only reads.
    // JUSTIFICATION: std does not place threads.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&words), words.as_ptr().cast()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// 8,192 CPUs: what the kernel can be built for at most.
const AFFINITY_WORDS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soft_limit_is_raised_to_the_hard_one() {
        let Limit { soft, hard } = raise(Resource::Descriptors).unwrap();
        assert_eq!(soft, hard);
    }

    #[test]
    fn a_thread_runs_where_it_is_bound() {
        let all = affinity().unwrap();
        let last = *all.last().unwrap();
        std::thread::spawn(move || {
            bind(&[last]).unwrap();
            assert_eq!(affinity().unwrap(), [last]);
            bind(&[usize::MAX]).unwrap_err();
        })
        .join()
        .unwrap();
        assert_eq!(affinity().unwrap(), all);
    }
}
