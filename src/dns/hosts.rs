use super::wire::{Stored,Question};
pub struct Hosts;
impl Hosts { pub fn new(_:&[crate::config::DnsHost])->Self{Self} pub fn lookup<B:AsRef<[u8]>>(&self,_:&Question<B>)->Option<&Stored>{None} }
