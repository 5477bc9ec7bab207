//! Which thread runs on which CPU: a pure function of what the machine is and what the operator wishes.
//!
//! Without wishes: a shard for each physical core of the inherited affinity mask (taskset, cpuset; never outside),
//! capped by the cgroup's quota, less one core for the reader. With one or two CPUs every CPU has a shard and the
//! reader is not pinned. Cores are taken package by package, so that shards sit beside their reader.
//!
//! Nothing is pinned where pinning would do harm: more shards than CPUs, or a quota below the CPUs, which limits time
//! and not place (every container of a host would pin itself to the same first CPUs).

use std::fmt;

use crate::base::limits::SHARDS;

/// What the machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The CPUs of the inherited affinity mask, in rising order.
    pub cpus: Vec<Cpu>,
    /// How many CPUs' time the cgroups allow, rounded up.
    pub quota: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    pub number: usize,
    pub package: usize,
    /// The lowest CPU number of its physical core.
    pub core: usize,
}

/// What the operator wishes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// `--shards`
    pub shards: Option<usize>,
    /// `--cpus`: use these and no others.
    pub cpus: Option<Vec<usize>>,
    /// `--reader-cpu`
    pub reader_cpu: Option<usize>,
}

/// Where each thread runs; `None`: wherever the scheduler puts it, within the affinity mask or `--cpus`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub shards: Vec<Option<usize>>,
    pub reader: Option<usize>,
    /// Where the threads that are not pinned may run.
    pub unpinned: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlacementError {
    /// This CPU of `flag` is not one that this process may use.
    NotAllowed {
        flag: &'static str,
        cpu: usize,
        allowed: Vec<usize>,
    },
    NoCpus,
    ShardCount {
        asked: usize,
    },
}

impl Machine {
    /// Reads `/sys` and `/proc` through `read`, which gives a file's text, or nothing if there is no such file.
    pub fn read(affinity: &[usize], read: impl Fn(&str) -> Option<String>) -> Self {
        let number = |path: String| read(&path).and_then(|text| text.trim().parse::<usize>().ok());
        let cpus = affinity.iter().map(|&cpu| {
            let topology = format!("/sys/devices/system/cpu/cpu{cpu}/topology");
            let siblings = read(&format!("{topology}/thread_siblings_list"));
            Cpu {
                number: cpu,
                package: number(format!("{topology}/physical_package_id")).unwrap_or(0),
                // Where the kernel does not say, each CPU counts as a core.
                core: siblings.and_then(|list| first_cpu(&list)).unwrap_or(cpu),
            }
        });
        Self { cpus: cpus.collect(), quota: quota(read) }
    }

    pub fn place(&self, wish: &Wish) -> Result<Placement, PlacementError> {
        if let Some(asked) = wish.shards.filter(|shards| !(1..=SHARDS).contains(shards)) {
            return Err(PlacementError::ShardCount { asked });
        }
        let cpus = self.usable(wish)?;
        if let Some(cpu) = wish.reader_cpu {
            self.check("--reader-cpu", cpu)?;
        }
        let unpinned: Vec<usize> = sorted(cpus.iter().map(|cpu| cpu.number));
        // An explicit list of CPUs is a wish to be there, whatever the quota.
        let quota = self.quota.filter(|&quota| quota < cpus.len());
        let may_pin = quota.is_none() || wish.cpus.is_some();
        let order = spread(&cpus, wish.reader_cpu);
        let shards = wish.shards.unwrap_or_else(|| default_shards(&cpus, wish.reader_cpu, quota));
        if !may_pin || shards > order.len() {
            return Ok(Placement { shards: vec![None; shards], reader: wish.reader_cpu, unpinned });
        }
        // The reader has the first core, if one is left when every shard has a CPU.
        let has_own = wish.reader_cpu.is_none() && shards < order.len() && cpus.len() > FEW_CPUS;
        let reader = if has_own { order.first().copied() } else { wish.reader_cpu };
        let shards = order.iter().skip(usize::from(has_own)).take(shards).map(|&cpu| Some(cpu)).collect();
        Ok(Placement { shards, reader, unpinned })
    }

    /// The CPUs that threads may use, each checked against the affinity mask.
    fn usable(&self, wish: &Wish) -> Result<Vec<Cpu>, PlacementError> {
        if let Some(numbers) = &wish.cpus {
            for &cpu in numbers {
                self.check("--cpus", cpu)?;
            }
        }
        let is_wished = |cpu: &&Cpu| wish.cpus.as_ref().is_none_or(|cpus| cpus.contains(&cpu.number));
        let cpus: Vec<Cpu> = self.cpus.iter().filter(is_wished).copied().collect();
        if cpus.is_empty() { Err(PlacementError::NoCpus) } else { Ok(cpus) }
    }

    fn check(&self, flag: &'static str, cpu: usize) -> Result<(), PlacementError> {
        let allowed: Vec<usize> = self.cpus.iter().map(|cpu| cpu.number).collect();
        if allowed.contains(&cpu) { Ok(()) } else { Err(PlacementError::NotAllowed { flag, cpu, allowed }) }
    }
}

impl Placement {
    /// The CPUs that a thread with this place is bound to.
    pub fn cpus(&self, pinned: Option<usize>) -> Vec<usize> {
        pinned.map_or_else(|| self.unpinned.clone(), |cpu| vec![cpu])
    }
}

impl fmt::Display for Placement {
    /// `shards=1,2,3 reader=0`; a tilde for a thread that is not pinned.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |cpu: &Option<usize>| cpu.map_or_else(|| "~".to_owned(), |cpu| cpu.to_string());
        let shards: Vec<String> = self.shards.iter().map(name).collect();
        write!(formatter, "shards={} reader={}", shards.join(","), name(&self.reader))
    }
}

fn default_shards(cpus: &[Cpu], reader_cpu: Option<usize>, quota: Option<usize>) -> usize {
    let others: Vec<&Cpu> = cpus.iter().filter(|cpu| Some(cpu.number) != reader_cpu).collect();
    let has_own = others.len() < cpus.len() || reader_cpu.is_some();
    let usable = others.len().min(quota.unwrap_or(usize::MAX));
    if usable <= FEW_CPUS {
        return usable.max(1);
    }
    let cores = sorted(others.iter().map(|cpu| cpu.core)).len();
    let cores = cores.min(quota.unwrap_or(usize::MAX));
    if has_own { cores } else { (cores - 1).max(1) }
}

/// The CPUs in the order in which threads take them: a thread of each core, package by package, then the others.
/// Without the reader's, as long as there is another.
fn spread(cpus: &[Cpu], reader_cpu: Option<usize>) -> Vec<usize> {
    let mut cpus: Vec<Cpu> = cpus.to_vec();
    cpus.sort_by_key(|cpu| (cpu.package, cpu.core, cpu.number));
    let is_first = |index: usize| index == 0 || cpus[index - 1].core != cpus[index].core;
    let (first, others): (Vec<usize>, Vec<usize>) = (0..cpus.len()).partition(|&index| is_first(index));
    let order = first.into_iter().chain(others).map(|index| cpus[index].number);
    let without: Vec<usize> = order.clone().filter(|&cpu| Some(cpu) != reader_cpu).collect();
    if without.is_empty() { order.collect() } else { without }
}

fn sorted(numbers: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut numbers: Vec<usize> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The first CPU of a list such as `0,8` or `0-1`.
fn first_cpu(list: &str) -> Option<usize> {
    list.split([',', '-']).next()?.trim().parse().ok()
}

/// The tightest quota of this process's cgroup and those above it, in CPUs, rounded up.
fn quota(read: impl Fn(&str) -> Option<String>) -> Option<usize> {
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let mut tightest = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let is_v1 = controllers.split(',').any(|controller| controller == "cpu");
        if !is_v1 && !controllers.is_empty() {
            continue;
        }
        let mount = if is_v1 { format!("/sys/fs/cgroup/{controllers}") } else { "/sys/fs/cgroup".into() };
        // Up to the mount itself, which in a container is the container's own group.
        let mut path = path.trim_end_matches('/');
        loop {
            let directory = format!("{mount}{path}");
            let found = if is_v1 { quota_v1(&read, &directory) } else { quota_v2(&read, &directory) };
            tightest = [tightest, found].into_iter().flatten().min();
            match path.rfind('/') {
                Some(parent) => path = &path[..parent],
                None => break,
            }
        }
    }
    tightest
}

fn quota_v2(read: &impl Fn(&str) -> Option<String>, directory: &str) -> Option<usize> {
    let text = read(&format!("{directory}/cpu.max"))?;
    let (quota, period) = text.trim().split_once(' ')?;
    in_cpus(quota, period)
}

fn quota_v1(read: &impl Fn(&str) -> Option<String>, directory: &str) -> Option<usize> {
    let quota = read(&format!("{directory}/cpu.cfs_quota_us"))?;
    in_cpus(&quota, &read(&format!("{directory}/cpu.cfs_period_us"))?)
}

/// `max` of version 2 and `-1` of version 1 are no numbers here, so no quota.
fn in_cpus(quota: &str, period: &str) -> Option<usize> {
    let (quota, period) = (quota.trim().parse::<usize>().ok()?, period.trim().parse::<usize>().ok()?);
    if period == 0 { None } else { Some(quota.div_ceil(period).max(1)) }
}

impl fmt::Display for PlacementError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed { flag, cpu, allowed } => {
                let allowed: Vec<String> = allowed.iter().map(usize::to_string).collect();
                write!(
                    formatter,
                    "{flag}: CPU {cpu} is not one that this process may use ({}); see taskset and cpuset",
                    allowed.join(",")
                )
            }
            Self::NoCpus => formatter.write_str("--cpus: name at least one CPU"),
            Self::ShardCount { asked } => write!(formatter, "--shards {asked}: from 1 to {SHARDS}"),
        }
    }
}

impl std::error::Error for PlacementError {}

/// With so few CPUs none is given to the reader alone.
const FEW_CPUS: usize = 2;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    type Tree = HashMap<String, String>;

    /// The files of `/sys` for packages of so many cores; the second threads have the numbers after all first ones,
    /// as Linux counts them on x86.
    fn tree(packages: usize, cores: usize, threads: usize) -> Tree {
        let mut tree = Tree::new();
        for core in 0..packages * cores {
            let siblings: Vec<String> =
                (0..threads).map(|thread| (core + thread * packages * cores).to_string()).collect();
            for cpu in &siblings {
                let topology = format!("/sys/devices/system/cpu/cpu{cpu}/topology");
                tree.insert(format!("{topology}/physical_package_id"), format!("{}\n", core / cores));
                tree.insert(format!("{topology}/thread_siblings_list"), format!("{}\n", siblings.join(",")));
            }
        }
        tree
    }

    fn machine(tree: &Tree, affinity: impl IntoIterator<Item = usize>) -> Machine {
        let affinity: Vec<usize> = affinity.into_iter().collect();
        Machine::read(&affinity, |path| tree.get(path).cloned())
    }

    fn pinned(shards: impl IntoIterator<Item = usize>) -> Vec<Option<usize>> {
        shards.into_iter().map(Some).collect()
    }

    /// Shards and reader without any wish.
    fn placed(machine: &Machine) -> (Vec<Option<usize>>, Option<usize>) {
        wished(machine, &Wish::default())
    }

    fn wished(machine: &Machine, wish: &Wish) -> (Vec<Option<usize>>, Option<usize>) {
        let placement = machine.place(wish).unwrap();
        (placement.shards, placement.reader)
    }

    #[test]
    fn one_cpu_is_shared_by_all() {
        assert_eq!(placed(&machine(&tree(1, 1, 1), [0])), (pinned([0]), None));
        assert_eq!(placed(&machine(&tree(1, 8, 2), [5])), (pinned([5]), None), "taskset -c 5");
    }

    #[test]
    fn on_a_virtual_machine_of_two_cpus_each_has_a_shard_and_the_reader_roams() {
        assert_eq!(placed(&machine(&tree(1, 2, 1), 0..2)), (pinned([0, 1]), None));
        assert_eq!(placed(&machine(&tree(1, 1, 2), 0..2)), (pinned([0, 1]), None), "two threads of one core");
        assert_eq!(placed(&machine(&Tree::new(), 0..2)), (pinned([0, 1]), None), "without a topology");
    }

    #[test]
    fn eight_cores_of_sixteen_threads_are_seven_shards_and_the_reader() {
        assert_eq!(placed(&machine(&tree(1, 8, 2), 0..16)), (pinned(1..8), Some(0)));
    }

    #[test]
    fn two_sockets_are_filled_one_after_the_other() {
        let machine = machine(&tree(2, 4, 2), 0..16);
        assert_eq!(placed(&machine), (pinned(1..8), Some(0)));
        let three = Wish { shards: Some(3), ..Wish::default() };
        assert_eq!(wished(&machine, &three), (pinned([1, 2, 3]), Some(0)), "beside the reader");
    }

    #[test]
    fn a_mask_is_never_left() {
        let machine = machine(&tree(1, 8, 2), [2, 3, 10, 11, 12]);
        assert_eq!(
            placed(&machine),
            (pinned([3, 12]), Some(2)),
            "cores 2 and 3 with both threads, 4 with one"
        );
        assert_eq!(machine.place(&Wish::default()).unwrap().unpinned, [2, 3, 10, 11, 12]);
        let outside = Wish { cpus: Some(vec![2, 4]), ..Wish::default() };
        assert_eq!(
            machine.place(&outside).unwrap_err().to_string(),
            "--cpus: CPU 4 is not one that this process may use (2,3,10,11,12); see taskset and cpuset"
        );
        let outside = Wish { reader_cpu: Some(0), ..Wish::default() };
        assert!(machine.place(&outside).unwrap_err().to_string().starts_with("--reader-cpu: CPU 0 is not"));
    }

    #[test]
    fn a_quota_of_two_on_64_cpus_is_two_shards_pinned_nowhere() {
        let mut version_2 = tree(2, 16, 2);
        version_2.insert("/proc/self/cgroup".into(), "0::/kubepods/pod1/courier\n".into());
        version_2.insert("/sys/fs/cgroup/kubepods/cpu.max".into(), "max 100000\n".into());
        version_2.insert("/sys/fs/cgroup/kubepods/pod1/cpu.max".into(), "200000 100000\n".into());
        version_2.insert("/sys/fs/cgroup/kubepods/pod1/courier/cpu.max".into(), "max 100000\n".into());

        let mut in_container = tree(2, 16, 2);
        in_container.insert("/proc/self/cgroup".into(), "0::/\n".into());
        in_container.insert("/sys/fs/cgroup/cpu.max".into(), "150000 100000\n".into());

        let mut version_1 = tree(2, 16, 2);
        let groups = "12:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/system.slice\n";
        version_1.insert("/proc/self/cgroup".into(), groups.into());
        version_1.insert("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us".into(), "200000\n".into());
        version_1.insert("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us".into(), "100000\n".into());

        for tree in [version_2, in_container, version_1] {
            let machine = machine(&tree, 0..64);
            assert_eq!(machine.quota, Some(2));
            assert_eq!(placed(&machine), (vec![None; 2], None));
            let named = Wish { cpus: Some(vec![4, 5]), ..Wish::default() };
            assert_eq!(wished(&machine, &named), (pinned([4, 5]), None), "who names CPUs gets them");
        }
    }

    #[test]
    fn without_a_quota_there_is_none() {
        let mut unlimited = tree(1, 8, 2);
        unlimited.insert("/proc/self/cgroup".into(), "3:cpu:/a\n0::/b\n".into());
        unlimited.insert("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us".into(), "-1\n".into());
        unlimited.insert("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us".into(), "100000\n".into());
        unlimited.insert("/sys/fs/cgroup/b/cpu.max".into(), "max 100000\n".into());
        assert_eq!(machine(&unlimited, 0..16).quota, None);
    }

    #[test]
    fn a_quota_of_four_on_eight_cores_is_three_shards() {
        let mut limited = tree(1, 8, 2);
        limited.insert("/proc/self/cgroup".into(), "0::/\n".into());
        limited.insert("/sys/fs/cgroup/cpu.max".into(), "350000 100000\n".into());
        assert_eq!(placed(&machine(&limited, 0..16)), (vec![None; 3], None));
    }

    #[test]
    fn more_shards_than_cores_use_the_second_threads_and_more_than_cpus_are_not_pinned() {
        let machine = machine(&tree(1, 2, 2), 0..4);
        let shards = |count| wished(&machine, &Wish { shards: Some(count), ..Wish::default() });
        assert_eq!(shards(1), (pinned([1]), Some(0)));
        assert_eq!(shards(3), (pinned([1, 2, 3]), Some(0)));
        assert_eq!(shards(4), (pinned([0, 1, 2, 3]), None));
        assert_eq!(shards(5), (vec![None; 5], None));
        for count in [0, 1_025] {
            let wish = Wish { shards: Some(count), ..Wish::default() };
            assert!(machine.place(&wish).is_err());
        }
    }

    #[test]
    fn the_readers_cpu_is_its_own() {
        let machine = machine(&tree(1, 8, 1), 0..8);
        let wish = Wish { reader_cpu: Some(7), ..Wish::default() };
        assert_eq!(wished(&machine, &wish), (pinned(0..7), Some(7)));
        let wish = Wish { cpus: Some(vec![1, 2, 3]), reader_cpu: Some(0), ..Wish::default() };
        assert_eq!(wished(&machine, &wish), (pinned([1, 2, 3]), Some(0)));
        let wish = Wish { cpus: Some(vec![6]), reader_cpu: Some(6), ..Wish::default() };
        assert_eq!(wished(&machine, &wish), (pinned([6]), Some(6)), "unless there is no other");
    }

    #[test]
    fn this_machine_can_be_read() {
        let affinity = crate::driver::sys::process::affinity().unwrap();
        let machine = Machine::read(&affinity, |path| std::fs::read_to_string(path).ok());
        assert!(!machine.place(&Wish::default()).unwrap().shards.is_empty());
    }
}
