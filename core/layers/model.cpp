namespace natrix {}
