
def can_fail(check): raise NotImplementedError
class CanFail: pass
