pub struct Exempt;
impl Exempt { pub fn new(_:&[Box<str>])->Self{Self} pub fn holds(&self,_:&str)->bool{false} }
pub fn is_private(_:std::net::IpAddr)->bool{false}
