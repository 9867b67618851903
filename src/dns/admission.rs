use std::net::IpAddr;
pub struct Admission;
impl Admission { pub fn new(_:usize)->Self{Self} pub fn set_max(&mut self,_:usize){} pub fn enter(&mut self,_:IpAddr)->bool{true} pub fn leave(&mut self,_:IpAddr){} }
pub fn prefix(a:IpAddr)->IpAddr{a}
