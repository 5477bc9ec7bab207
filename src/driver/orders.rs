//! What passes between the server, which starts and stops, and the threads that work: orders down, reports up.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::base::queue::ShardIndex;
use crate::driver::sys::signals::Signal;

/// What the server wants of all threads. Only ever rises; a thread looks at it each time it is told something.
#[derive(Debug, Default)]
pub struct Orders(AtomicU8);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    Work,
    /// Take nobody new; end what there is.
    Drain,
    /// End now.
    Stop,
}

impl Orders {
    /// To be followed by a notification of each thread.
    pub fn give(&self, order: Order) {
        self.0.fetch_max(order as u8, Ordering::Release);
    }

    pub fn present(&self) -> Order {
        match self.0.load(Ordering::Acquire) {
            0 => Order::Work,
            1 => Order::Drain,
            _ => Order::Stop,
        }
    }
}

/// What a thread tells the server.
#[derive(Debug)]
pub enum Report {
    /// It is set up and works.
    Ready,
    /// It cannot be set up, and why.
    Failed { thread: String, reason: String },
    /// Redis has been heard, or could not be, for the first time.
    Tried,
    /// Its connections have all ended, as ordered.
    Drained(ShardIndex),
    /// Redis said no before it ever said yes, in a way that will not mend by itself.
    Refused { reason: String },
    /// The process was sent a signal.
    Signal(Signal),
    /// It has returned; without an order to, that is a fault.
    Returned { thread: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_only_rise() {
        let orders = Orders::default();
        assert_eq!(orders.present(), Order::Work);
        for (given, present) in
            [(Order::Drain, Order::Drain), (Order::Stop, Order::Stop), (Order::Drain, Order::Stop)]
        {
            orders.give(given);
            assert_eq!(orders.present(), present);
        }
    }
}
