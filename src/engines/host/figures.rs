//! Groups of figures. Each figure is a whole number or absent, so that a sample can be kept compactly and
//! what the kernel did not tell is never taken for zero.

/// Defines a group of figures with its order.
macro_rules! figures {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Option<u64>,)+
        }

        impl $name {
            /// How many figures it has.
            pub const COUNT: usize = [$(stringify!($field)),+].len();

            /// All of them, in order.
            pub fn values(&self) -> [Option<u64>; Self::COUNT] {
                [$(self.$field),+]
            }

            /// From all of them, in order. What is not there is absent.
            pub fn from_values(values: &[Option<u64>]) -> Self {
                let mut values = values.iter().copied();
                Self {
                    $($field: values.next().flatten(),)+
                }
            }
        }
    };
}

figures! {
    /// Time of one processor, or of all, in nanoseconds since the host was started.
    Cpu {
        /// In programs.
        user,
        /// In programs of low priority.
        nice,
        /// In the kernel.
        system,
        /// With nothing to do.
        idle,
        /// With nothing to do but to wait for disks.
        iowait,
        /// In interrupts.
        irq,
        /// In what interrupts left to do.
        softirq,
        /// Taken by the hypervisor.
        steal,
    }
}

figures! {
    /// Load averages in hundredths, and counts of tasks.
    Load {
        /// Over 1 minute.
        one,
        /// Over 5 minutes.
        five,
        /// Over 15 minutes.
        fifteen,
        /// Tasks that run or are ready.
        running,
        /// Tasks in all.
        tasks,
    }
}

figures! {
    /// Pressure of one resource: averages in hundredths of a percent, sums in microseconds.
    Pressure {
        /// Some task waited, in the last 10 s.
        some_10,
        /// In the last 60 s.
        some_60,
        /// In the last 300 s.
        some_300,
        /// Since the host was started.
        some_total,
        /// All tasks waited, in the last 10 s.
        full_10,
        /// In the last 60 s.
        full_60,
        /// In the last 300 s.
        full_300,
        /// Since the host was started.
        full_total,
    }
}

figures! {
    /// Memory and swap, in bytes.
    Memory {
        /// What the kernel has.
        total,
        /// Used by nothing.
        free,
        /// What programs could still get.
        available,
        /// Buffers of block devices.
        buffers,
        /// The cache of files.
        cached,
        /// Shared memory.
        shared,
        /// The kernel's own.
        slab,
        /// Of it, what could be given back.
        slab_reclaimable,
        /// To be written.
        dirty,
        /// Being written.
        writeback,
        /// Of programs.
        anonymous,
        /// Swap.
        swap_total,
        /// Free swap.
        swap_free,
    }
}

figures! {
    /// Space on a file system.
    Space {
        /// Bytes.
        size,
        /// Free bytes.
        free,
        /// Bytes that programs without privileges could write.
        available,
        /// Files that it can hold.
        inodes,
        /// How many more.
        inodes_free,
    }
}

figures! {
    /// What a disk did since the host was started; times in milliseconds.
    DiskIo {
        /// Reads done.
        reads,
        /// Bytes read.
        read_bytes,
        /// How long they took.
        read_ms,
        /// Writes done.
        writes,
        /// Bytes written.
        written_bytes,
        /// How long they took.
        write_ms,
        /// Under way.
        in_flight,
        /// With something to do.
        busy_ms,
    }
}

figures! {
    /// What went over a network interface since it was made.
    Traffic {
        /// Bytes received.
        rx_bytes,
        /// Packets received.
        rx_packets,
        /// Packets that came damaged.
        rx_errors,
        /// Packets that came and were dropped.
        rx_dropped,
        /// Bytes sent.
        tx_bytes,
        /// Packets sent.
        tx_packets,
        /// Packets that could not be sent.
        tx_errors,
        /// Packets that were dropped before.
        tx_dropped,
    }
}

figures! {
    /// What a container uses; times in nanoseconds.
    Usage {
        /// CPU time.
        cpu,
        /// Of it, in programs.
        cpu_user,
        /// Of it, in the kernel.
        cpu_system,
        /// CPU time of the whole host, as the engine counts it.
        host_cpu,
        /// The host's processors.
        host_cpus,
        /// Periods in which a CPU limit was watched.
        periods,
        /// Those in which it was reached.
        throttled_periods,
        /// How long it was held up.
        throttled,
        /// Memory, the cache of files included.
        memory,
        /// Memory less what of the cache was not used lately.
        working_set,
        /// Memory that no file holds.
        anonymous,
        /// The cache of files.
        cache,
        /// The limit.
        memory_limit,
        /// Swap.
        swap,
        /// Bytes received.
        rx_bytes,
        /// Packets received.
        rx_packets,
        /// Packets that came damaged.
        rx_errors,
        /// Packets that came and were dropped.
        rx_dropped,
        /// Bytes sent.
        tx_bytes,
        /// Packets sent.
        tx_packets,
        /// Packets that could not be sent.
        tx_errors,
        /// Packets that were dropped before.
        tx_dropped,
        /// Bytes read.
        read_bytes,
        /// Bytes written.
        written_bytes,
        /// Reads.
        reads,
        /// Writes.
        writes,
        /// Processes and threads.
        pids,
        /// How many it may have.
        pids_limit,
    }
}

/// What a container did on one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceIo {
    /// Major and minor number.
    pub number: (u32, u32),
    /// The kernel's name for it, such as "sda". Empty: it is not known here.
    pub name: String,
    /// Bytes read.
    pub read_bytes: Option<u64>,
    /// Bytes written.
    pub written_bytes: Option<u64>,
    /// Reads.
    pub reads: Option<u64>,
    /// Writes.
    pub writes: Option<u64>,
}

impl DeviceIo {
    /// Nothing is known of this device yet.
    pub fn of(number: (u32, u32)) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }
}

impl Cpu {
    /// Idle and in all, where both are known.
    fn idle_and_all(&self) -> Option<(u64, u64)> {
        let idle = self.idle?.saturating_add(self.iowait.unwrap_or(0));
        let all = self.values().into_iter().flatten();
        Some((idle, all.fold(0, u64::saturating_add)))
    }

    /// The part of the time since `before` that was neither idle nor iowait.
    pub fn busy_since(&self, before: &Self) -> Option<f64> {
        let (idle, all) = self.idle_and_all()?;
        let (idle_before, all_before) = before.idle_and_all()?;
        let all = all.checked_sub(all_before).filter(|all| *all > 0)?;
        // The kernel's idle time may go back a little.
        let idle = idle.saturating_sub(idle_before).min(all);
        Some((all - idle) as f64 / all as f64)
    }

    /// All time as the engine adds it up for `docker stats`: without steal.
    pub fn as_engine(&self) -> Option<u64> {
        let mut all = self.values().into_iter().take(7);
        all.try_fold(0, |sum: u64, part| Some(sum.saturating_add(part?)))
    }
}

impl Usage {
    /// CPU in percent of one processor, as `docker stats` computes it from two readings.
    pub fn cpu_percent_since(&self, before: &Self) -> Option<f64> {
        let host = self.host_cpu?.checked_sub(before.host_cpu?)?;
        // A container that was started again counts from zero.
        let own = self.cpu?.checked_sub(before.cpu?)?;
        if host == 0 {
            return None;
        }
        Some(own as f64 / host as f64 * self.host_cpus? as f64 * 100.0)
    }

    /// Takes over what went over its interfaces.
    pub fn set_traffic(&mut self, traffic: &Traffic) {
        self.rx_bytes = traffic.rx_bytes;
        self.rx_packets = traffic.rx_packets;
        self.rx_errors = traffic.rx_errors;
        self.rx_dropped = traffic.rx_dropped;
        self.tx_bytes = traffic.tx_bytes;
        self.tx_packets = traffic.tx_packets;
        self.tx_errors = traffic.tx_errors;
        self.tx_dropped = traffic.tx_dropped;
    }
}
